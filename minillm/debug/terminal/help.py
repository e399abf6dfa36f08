"""The page of help."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

TEXT = """\
[b]Stepping through backward[/b]

Each step runs the hand-written gradient of one node and stops [i]before[/i] its gradients accumulate: \
what came in, what goes out and where to is on the right.

  [b]n[/b] [b]→[/b]       a step on; the gradients accumulate, the next node runs
  [b]b[/b] [b]←[/b]       a step back; every gradient is again what it was, bit for bit
  [b]c[/b]         on to the next breakpoint, or to the end
  [b]g[/b] [b]G[/b]       the first step, the last step
  [b]t[/b]         to the step of the selected node, on or back
  [b]esc[/b]       stops a move that takes long, between two steps

  [b]space[/b]     a breakpoint on the selected node, or none; also enter
  [b]o[/b] [b]l[/b]       a breakpoint on its op, on its layer and all below
  [b]k[/b]         check the node's gradients numerically, at these very numbers

  [b]↑[/b] [b]↓[/b]       select a node, or an array: ❱ marks the line that computes it
  [b]tab[/b]       the next pane
  [b]/[/b]         search ops and layers in the tape; / and enter: the next match
  [b]q[/b]         quit; also ctrl+c

Tape: [b red]●[/] breakpoint, [b yellow]▶[/] current, [green]✓[/] done, [green]≈[/] numeric check passed, \
[red]✗[/] failed.
Arrays: [#4696ff]■[/] below zero, [#ff6941]■[/] above, [#ff00dc]■[/] NaN or infinite.

Any of esc, q and ? closes this."""


class Help(ModalScreen[None]):
    """What the keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark,ctrl+c", "dismiss", "Close")]
    CSS = """
    Help { align: center middle; }
    #help { width: 84; max-width: 100%; height: auto; max-height: 100%; padding: 1 2; border: round $accent;
            background: $surface; }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(TEXT)
