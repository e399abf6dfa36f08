"""Step through backward, stop where something happens, look at everything by name.

Steps are there at once, so that who steps into `backward_steps` meets no imports. All else is imported when it is first
used: who trains does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autograd.debug.errors import DebugError as DebugError
from autograd.debug.step import Flow as Flow
from autograd.debug.step import Step as Step
from autograd.debug.steps import Steps as Steps
from autograd.tape import Node
from autograd.tensor import Tensor

if TYPE_CHECKING:
    from autograd.debug.breakpoints import break_on as break_on
    from autograd.debug.comparing import compare as compare
    from autograd.debug.debuggers import set_trace as set_trace
    from autograd.debug.nonfinite import debug as debug
    from autograd.debug.nonfinite_origin import NonFinite as NonFinite
    from autograd.debug.nonfinite_origin import NonFiniteError as NonFiniteError
    from autograd.debug.notebook import show_tape as show_tape
    from autograd.debug.saved_memory import SavedBytes as SavedBytes
    from autograd.debug.saved_memory import saved_bytes as saved_bytes
    from autograd.debug.summary import Summary as Summary
    from autograd.debug.tracing import trace as trace

# a module must not be called like a function in it, which would hide it
_MODULES = {
    "NonFinite": "nonfinite_origin",
    "NonFiniteError": "nonfinite_origin",
    "SavedBytes": "saved_memory",
    "Summary": "summary",
    "break_on": "breakpoints",
    "compare": "comparing",
    "debug": "nonfinite",
    "saved_bytes": "saved_memory",
    "set_trace": "debuggers",
    "show_tape": "notebook",
    "trace": "tracing",
}
__all__ = ["DebugError", "Flow", "Step", "Steps", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__


def _backward_steps(self: Tensor, dy: Any = None, *, retain_graph: bool = False) -> Steps:
    """What `backward` does, one node at a time. Arguments and errors are those of `backward`."""
    return Steps(self, dy, retain_graph=retain_graph)


def _html(self: Tensor | Node) -> str:
    """What a notebook shows."""
    from autograd.debug import notebook

    return notebook.tensor_html(self) if isinstance(self, Tensor) else notebook.node_html(self)


Tensor.backward_steps = _backward_steps  # type: ignore[method-assign]  # declared there for whoever reads Tensor
Tensor._repr_html_ = _html  # type: ignore[attr-defined]  # notebooks alone ask for it
Node._repr_html_ = _html  # type: ignore[attr-defined]  # as above
