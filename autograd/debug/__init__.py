"""Step through backward, stop where something happens, look at everything by name."""

from typing import Any

from autograd.debug.breakpoints import break_on
from autograd.debug.compare import compare
from autograd.debug.errors import DebugError
from autograd.debug.nonfinite import debug
from autograd.debug.nonfinite_origin import NonFinite, NonFiniteError
from autograd.debug.notebook import node_html, show_tape, steps_html, tensor_html
from autograd.debug.saved_bytes import SavedBytes, saved_bytes
from autograd.debug.stepping import set_trace
from autograd.debug.steps import Flow, Step, Steps
from autograd.debug.summary import Summary
from autograd.debug.trace import trace
from autograd.tape import Node
from autograd.tensor import Tensor


def backward_steps(self: Tensor, dy: Any = None, *, retain_graph: bool = False) -> Steps:
    """What `backward` does, one node at a time. Arguments and errors are those of `backward`."""
    return Steps(self, dy, retain_graph=retain_graph)


Tensor.backward_steps = backward_steps  # type: ignore[method-assign]  # declared there for whoever reads Tensor
# what a notebook asks for
Tensor._repr_html_ = tensor_html  # type: ignore[attr-defined]
Node._repr_html_ = node_html  # type: ignore[attr-defined]
Steps._repr_html_ = steps_html  # type: ignore[attr-defined]

__all__ = [
    "DebugError",
    "Flow",
    "NonFinite",
    "NonFiniteError",
    "SavedBytes",
    "Step",
    "Steps",
    "Summary",
    "break_on",
    "compare",
    "debug",
    "saved_bytes",
    "set_trace",
    "show_tape",
    "trace",
]
