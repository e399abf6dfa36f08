"""The stepper: the tape, the source of the current op and its arrays side by side, moved by keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.markup import escape
from textual.widgets import Footer, OptionList, Static

from autograd.debug.node_check import NodeCheck
from autograd.tape import Node
from minillm.debug.session import Session
from minillm.debug.terminal.help import Help
from minillm.debug.terminal.panes import ArrayPane, SourcePane, TapePane
from minillm.debug.terminal.search import Search
from minillm.debug.terminal.style import CSS
from minillm.debug.terminal.turns import Turns
from minillm.debug.terminal.values import values_of
from minillm.debug.terminal.walk import Kind, Walk
from minillm.debug.terminal.words import called, told

LEAST_COLUMNS, LEAST_ROWS = 60, 16
_SIDE_BY_SIDE = 120  # columns from which source and arrays stand beside each other


class Stepper(App[None]):
    """Steps through the backward pass of a session.

    Args:
        break_on: ops and layers to stop at; it starts at the first of them, else at the first step.

    Raises:
        DebugError: the tape has no op or layer of that name.
    """

    TITLE = "minillm debug"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step", "Step", key_display="n→"),
        Binding("b,left", "step_back", "Back", key_display="b←"),
        Binding("c", "run_on", "Continue"),
        Binding("space,enter", "break_at('node')", "Break", key_display="space"),
        Binding("o", "break_at('op')", show=False),
        Binding("l", "break_at('layer')", show=False),
        Binding("k", "check", "Check"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+c", "quit", "Quit", key_display="q"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("g", "first", "First"),
        Binding("G", "last", "Last"),
        Binding("t", "go_to", "To here"),
    ]
    CSS = CSS

    def __init__(self, session: Session, break_on: Sequence[str] = ()) -> None:
        super().__init__()
        self.session = session
        self.walk = Walk(session)
        for name in [break_on] if isinstance(break_on, str) else break_on:
            self.walk.break_at(name)
        self.tape, self.source, self.arrays = TapePane(self.walk), SourcePane(), ArrayPane()
        self.search = Search(self._find)
        self.selected = self.walk.nodes[0]
        self._turns = Turns(self.walk, self.say)
        self._checking: Node | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="all"):
            yield Static(id="title")
            with Horizontal(id="main"):
                with Vertical(id="left"):
                    yield self.tape
                    yield self.search
                with Horizontal(id="look"):
                    yield self.source
                    yield self.arrays
            yield Static(id="message")
            yield Footer(compact=True, show_command_palette=False)
        yield Static(id="too-small")

    def on_mount(self) -> None:
        self._end_search()
        self._show_title()
        self._in_turn(self._move, self.walk.run_on if self.walk.breakpoints else self.walk.forward)

    def on_resize(self, event: Resize) -> None:
        width, height = event.size
        too_small = width < LEAST_COLUMNS or height < LEAST_ROWS
        main = self.screen_stack[0]  # help may lie over it
        main.set_class(too_small, "too-small")
        main.set_class(width < _SIDE_BY_SIDE, "narrow")
        if not too_small:
            self.call_after_refresh(self._give_focus)
        self.query_one("#too-small", Static).update(
            f"The terminal has {width} columns and {height} rows: "
            f"enlarge it to at least {LEAST_COLUMNS} by {LEAST_ROWS}, or press q"
        )

    def _give_focus(self) -> None:
        """What was hidden has lost it."""
        main = self.screen_stack[0]
        if main.focused is None:
            main.set_focus(self.tape)

    # --- keys that move, or change where it stops

    def action_step(self) -> None:
        self._in_turn(self._move, self.walk.forward)

    def action_step_back(self) -> None:
        self._in_turn(self._move, self.walk.back)

    def action_run_on(self) -> None:
        self._in_turn(self._move, self.walk.run_on)

    def action_first(self) -> None:
        self._in_turn(self._move, self.walk.first)

    def action_last(self) -> None:
        self._in_turn(self._move, self.walk.last)

    def action_go_to(self) -> None:
        self._in_turn(self._move_to_selected)

    def action_break_at(self, kind: Kind) -> None:
        self._in_turn(self._toggle, kind)

    def action_check(self) -> None:
        self._in_turn(self._begin_check)

    def _in_turn(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        if self._turns.add(function, *arguments):
            self._take_turns()

    @work
    async def _take_turns(self) -> None:
        await self._turns.take()

    async def _move(self, move: Callable[[], None]) -> None:
        """Move, and show where that led, also where an op raised."""
        error = await self._turns.move(move)
        walk, message = self.walk, ""
        if error is not None:
            message = told(error)
        elif walk.ended:
            message = "the pass has ended: all gradients have accumulated; b goes back"
        elif walk.stopping.is_set():
            message = f"stopped at {walk.where}"
        self.say(message, error=error is not None)
        place = min(walk.place, len(walk.nodes) - 1)
        self.tape.update_rows()
        self.tape.highlighted = place
        self._select(walk.nodes[place])
        self._show_title()

    async def _move_to_selected(self) -> None:
        node = self.selected
        await self._move(lambda: self.walk.go_to(node))

    async def _toggle(self, kind: Kind) -> None:
        self.walk.toggle(kind, self.selected)
        self.tape.update_rows()
        stops = ", ".join(self.walk.breakpoints)
        self.say(f"breakpoints: {stops}" if stops else "no breakpoints")

    async def _begin_check(self) -> None:
        """One at a time."""
        node = self._checking or self.selected
        self.say(f"checking {node.op} #{node.seq} ...")
        if self._checking is None:
            self._checking = node
            self._check(node)

    @work
    async def _check(self, node: Node) -> None:
        """Beside all else, since numeric gradients take a while: what it reads are copies that no step changes."""
        try:
            check = await asyncio.to_thread(self.session.check, node)
        except Exception as error:  # of an op of the user's: the app lives on
            self.say(told(error), error=True)
        else:
            self._show_check(node, check)
        finally:
            self._checking = None

    def _show_check(self, node: Node, check: NodeCheck) -> None:
        self.tape.checks[node] = check
        self.tape.update_rows()
        passed = "passed" if check.passed else "FAILED"
        self.say(f"numeric check of {node.op} #{node.seq} {passed} in {check.seconds:.2f} s", error=not check.passed)
        if node is self.selected:
            self._show_source()

    # --- other keys

    def action_search(self) -> None:
        self.search.begin()

    def action_help(self) -> None:
        self.push_screen(Help())

    # --- what the panes tell

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_list is self.tape:
            node = self.walk.nodes[self.tape.highlighted or 0]  # by now: the event may be of a step before
            if node is not self.selected:
                self._select(node)
        elif event.option_list is self.arrays:
            self._show_source()

    def on_option_list_option_selected(self) -> None:
        """Enter, which a list keeps for itself."""
        self.action_break_at("node")

    def on_input_submitted(self) -> None:
        self._end_search()

    def key_escape(self) -> None:
        self._turns.stop()
        self._end_search()

    def _end_search(self) -> None:
        self.search.display = False
        self.set_focus(self.tape)

    def _find(self, text: str, next_one: bool) -> None:
        """Select the first node from the selected one on, or from the next, whose op or layer has the text."""
        place = self.walk.find(text, self.walk.nodes.index(self.selected) + next_one)
        if place is None:
            self.say(f"no op or layer on this tape has {text!r} in its name", error=True)
        else:
            self.tape.highlighted = place
            self._select(self.walk.nodes[place])

    # --- what is shown

    def _show_title(self) -> None:
        loss = float(self.session.loss.numpy())
        self.query_one("#title", Static).update(
            f"[b]{self.walk.where}[/b]  loss {loss:.4f}  {escape(self.session.title)}"
        )

    def _select(self, node: Node) -> None:
        self.selected = node
        step = None if self._turns.moving else self.walk.step
        current = step if step is not None and step.node is node else None
        self.arrays.border_title = "arrays" if current else "forward pass; t goes here"
        try:
            values = values_of(self.session, node, current, self.session.source(node))
            gradients = [i for i, value in enumerate(values) if value.goes and value.value is not None]
            self.arrays.show(values, gradients[0] if gradients else 0)
        except Exception as error:  # a gradient that is none, of an op of the user's
            self.say(told(error), error=True)
        self._show_source()

    def _show_source(self) -> None:
        """Of the selected node, the line marked that computes the selected array."""
        node, place = self.selected, self.arrays.highlighted
        value = self.arrays.values[place] if place is not None and place < len(self.arrays.values) else None
        self.source.border_title = f"{node.layer or ''} {node.op} #{node.seq}"
        check, line = self.tape.checks.get(node), value.line if value else None
        self.source.show(self.session.source(node), called(node), check, line)

    def say(self, text: str, *, error: bool = False) -> None:
        """One message, which stays until the next."""
        message = self.query_one("#message", Static)
        message.set_class(error, "error")
        message.update(escape(text))
