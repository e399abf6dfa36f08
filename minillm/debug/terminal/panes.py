"""The three panes: the tape, the source of an op, and arrays."""

from __future__ import annotations

from typing import ClassVar

from rich.syntax import Syntax
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from autograd.debug.node_check import NodeCheck
from autograd.debug.source import Listing, OpSource
from autograd.tape import Node
from minillm.debug.terminal.values import Value
from minillm.debug.terminal.walk import Walk

# what a pane that has the focus, or the screen, would do otherwise
PANE_KEYS: list[BindingType] = [
    Binding("right", "app.step", show=False),
    Binding("left", "app.step_back", show=False),
    Binding("tab", "app.focus_next", "Pane", key_display="tab"),
]
_OP_WIDTH = 13  # cross_entropy; in line where there is...
_FORMULA_FROM = 9  # rows of the pane
_ROOM = 36  # columns for the layers' paths too


class TapePane(OptionList):
    """The nodes in backward's order: done, current, to come; where a breakpoint stops; what a check found."""

    BINDINGS: ClassVar[list[BindingType]] = PANE_KEYS

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._op_width = 0
        self.checks: dict[Node, NodeCheck] = {}
        self._rows = [self._row(place) for place in range(len(walk.nodes))]
        super().__init__(*(Option(row) for row in self._rows), id="tape")
        self.border_title = "tape"

    def on_resize(self, event: Resize) -> None:
        self._op_width = _OP_WIDTH if event.size.width >= _ROOM else 0
        self.update_rows()

    def update_rows(self) -> None:
        """Draw again what is another than it was."""
        for place, before in enumerate(self._rows):
            row = self._row(place)
            if row != before:
                self._rows[place] = row
                self.replace_option_prompt_at_index(place, row)

    def _row(self, place: int) -> Text:
        walk, node = self._walk, self._walk.nodes[place]
        here, done, check = place == walk.place, place < walk.place, self.checks.get(node)
        row = Text().append("●" if walk.stops_at(node) else " ", "bold red")
        row.append("▶" if here else "✓" if done else " ", "bold yellow" if here else "green")
        row.append(" " if check is None else "≈" if check.passed else "✗", "green" if check and check.passed else "red")
        style = "bold" if here else "dim" if done else ""
        row.append(f" {node.op!s:{self._op_width}} ", style)
        return row.append(f"{node.layer or ''} ", f"{style} cyan").append(f"{node.shape}", "dim")


class _Scroll(VerticalScroll):
    BINDINGS: ClassVar[list[BindingType]] = PANE_KEYS


class _Code(_Scroll):
    """Source that keeps its marked row in view."""

    marked_row = 0

    def show(self, text: Text, marked_row: int) -> None:
        self.marked_row = marked_row
        self.query_one(Static).update(text)
        self.call_after_refresh(self._bring_into_view)

    def on_resize(self, _: Resize) -> None:
        self._bring_into_view()

    def _bring_into_view(self) -> None:
        """What leads to the line stands above it."""
        above = self.scrollable_content_region.height * 2 // 3
        self.scroll_to(y=max(0, self.marked_row - above), animate=False)


class SourcePane(Vertical):
    """Formula of an op, and below it forward and backward with the files' line numbers; one line is marked.

    Attributes:
        formula: what stands above.
        code: what stands below, and scrolls.
    """

    def __init__(self) -> None:
        self._head = _Scroll(Static(), id="formula", can_focus=False)
        self._code = _Code(Static(), id="code")
        super().__init__(self._head, self._code, id="source")
        self._shown: tuple[OpSource, str, NodeCheck | None, int | None] | None = None
        self.formula, self.code = Text(), Text()
        self.border_title = "source"

    def show(self, source: OpSource, called: str, check: NodeCheck | None, marked: int | None) -> None:
        """
        Args:
            called: where the op was called.
            marked: number of the line to mark.
        """
        shown = source, called, check, marked
        if shown != self._shown:
            self._shown = shown
            self._draw()

    def on_resize(self, event: Resize) -> None:
        self._head.display = event.size.height >= _FORMULA_FROM
        self._draw()

    def _draw(self) -> None:
        if self._shown is None:
            return
        source, called, check, marked = self._shown
        width = max(20, self._code.scrollable_content_region.width)
        self.formula = Text("\n").join(_head_rows(source, called, check, width))
        self._head.query_one(Static).update(self.formula)
        rows: list[Text] = []
        marked_row = 0
        for name, listing in (("forward", source.forward), ("backward", source.backward)):
            rows += [*_fold(Text(f"{name}  {listing.file}", "bold underline"), width)]
            for number, line in enumerate(_coloured(listing), start=listing.first):
                here = number == marked and marked_row == 0
                if here:
                    marked_row = len(rows)
                rows += _numbered(line, number, width, here)
            rows.append(Text())
        self.code = Text("\n").join(rows)
        self._code.show(self.code, marked_row)
        self.call_after_refresh(self._let_the_formula_scroll)

    def _let_the_formula_scroll(self) -> None:
        """Where it is cut, tab leads to it."""
        self._head.can_focus = self._head.max_scroll_y > 0


def _head_rows(source: OpSource, called: str, check: NodeCheck | None, width: int) -> list[Text]:
    lines = [Text(source.title, "bold"), *(Text(line, "yellow") for line in source.formula.splitlines())]
    lines.append(Text(called, "dim"))
    if check is not None and check.passed:
        errors = ", ".join(f"d{name} {error:.1e}" for name, error in check.gradients.items())
        lines.append(Text(f"numeric check passed, relative difference {errors or 'of nothing'}", "green"))
    elif check is not None:
        lines += [Text(line, "bold red") for line in f"numeric check FAILED: {check.text}".splitlines()]
    return [row for line in lines for row in _fold(line, width)]


def _coloured(listing: Listing) -> list[Text]:
    code = Syntax("", "python", theme="ansi_dark").highlight("\n".join(listing.lines))
    return list(code.split("\n"))[: len(listing.lines)]


def _numbered(line: Text, number: int, width: int, marked: bool) -> list[Text]:
    """The line with its number, folded; marked by an arrow and by colour."""
    rows = []
    for i, part in enumerate(_fold(line, width - 6)):
        row = Text(f"{'❱' if marked and i == 0 else ' '}{'' if i else number:>4} ", "bold yellow" if marked else "dim")
        row.append_text(part)
        if marked:
            row.pad_right(width - len(row))
            row.stylize("on #45391a")
        rows.append(row)
    return rows


def _fold(line: Text, width: int) -> list[Text]:
    """Rows of at most `width`, broken behind a space where there is one in the second half of a row."""
    plain, breaks, start = line.plain, [], 0
    while len(plain) - start > width:
        space = plain.rfind(" ", start + width // 2, start + width)
        start = space + 1 if space >= 0 else start + width
        breaks.append(start)
    return list(line.divide(breaks))


class ArrayPane(OptionList):
    """The arrays of a node as heat maps."""

    BINDINGS: ClassVar[list[BindingType]] = PANE_KEYS

    def __init__(self) -> None:
        super().__init__(id="arrays")
        self.values: list[Value] = []
        self._width = 0
        self.border_title = "arrays"

    def show(self, values: list[Value], highlighted: int) -> None:
        self.values = values
        self._width = self.scrollable_content_region.width
        rows = max(8, min(32, self.size.height // 4 * 2))  # two to a line: half of the pane
        self.clear_options()
        self.add_options([Option(value.render(self._width - 3, rows)) for value in values])
        self.highlighted = highlighted

    def on_resize(self, _: Resize) -> None:
        if self.values and self._width != self.scrollable_content_region.width:
            self.show(self.values, self.highlighted or 0)
