"""What there is to see of a node: the gradients that came in and go out, what was saved, the op's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from autograd.backends import Array
from autograd.debug import Flow, Step
from autograd.debug.picture import COLUMNS, picture
from autograd.debug.source import OpSource
from autograd.debug.step import backward_arguments
from autograd.norm import norm
from autograd.op import Op
from autograd.tape import Node
from minillm.debug.session import Session
from minillm.debug.terminal.heat import HeatMap, scale
from minillm.debug.terminal.lines import assigning_line, computing_line


@dataclass(frozen=True)
class Value:
    """One array, or what a backward was handed besides.

    Attributes:
        name: in the backward, or "y" for the output.
        what: its part, in a word or two.
        line: number of the source line that computes it, if one can be told.
        goes: of a gradient that goes out, where to and the norms there: as they were when the pass stood at this step,
            however late it is drawn.
    """

    name: str
    what: str
    value: Any
    line: int | None = None
    goes: Text | None = None

    def render(self, width: int, rows: int) -> Group:
        """Name, where it accumulates, statistics, and a heat map of at most `rows` rows of cells."""
        text = Text().append(self.name, "bold").append(f"  {self.what}", "dim")
        if self.goes:
            text.append("\n").append_text(self.goes)
        if not hasattr(self.value, "dtype"):
            return Group(text.append(f"\n{self.value!r}\n"))
        shown = picture(self.value, rows=rows, columns=max(1, min(COLUMNS, width)))
        text.append(f"\n{shown.summary}")
        if self.value.size <= 1:
            return Group(text, Text())
        return Group(text, HeatMap(shown), scale(shown), Text())


def values_of(session: Session, node: Node, step: Step | None, source: OpSource) -> list[Value]:
    """Gradients first, if the step of the node is where the pass stopped."""
    saved = list(backward_arguments(node, None).items())[1:]
    values = []
    if step is not None:
        values.append(Value("dy", "gradient that came in", step.dy))
        for i, flow in enumerate(step.flows):
            line = computing_line(source.backward, i)
            values.append(Value(f"d{flow.input}", "gradient", step.dxs[i], line, _goes(flow)))
    values += [Value(name, "saved", value, assigning_line(source.forward, name)) for name, value in saved]
    if isinstance(node.op, Op):  # a checkpoint has calls of its own
        values.append(Value("y", "output of the forward", session.value(node), computing_line(source.forward, 0)))
    return values


def _goes(flow: Flow) -> Text:
    """Where a gradient goes, and the norms there before and after."""
    text = Text().append(f"→ {flow.name}", "cyan")
    if flow.target is not None and flow.gradient is not None:
        text.append(f"\n  norm there: {_norm(flow.before)} → {_norm(flow.after)}")
    return text


def _norm(array: Array | None) -> str:
    return "nothing" if array is None else f"{norm(array):.4g}"
