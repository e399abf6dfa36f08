"""Tensor, and the loop that walks its tape backwards.

To step through backprop, step from `loss.backward()` into the one line marked below; it enters
`<op>_backward(dy, *saved)`, the hand-written gradient, with every array by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from autograd import backends, modes
from autograd.backends import Array
from autograd.backward_pass import BackwardPass
from autograd.norm import norm
from autograd.tape import Leaf, Node

if TYPE_CHECKING:
    from autograd.debug.steps import Steps

LARGE = 10_000_000  # elements: of more, a repr reads the first alone


class Tensor(Leaf):
    """An array, its gradient, and the Node that made it (None for a leaf).

    Args:
        data: an array (kept, not copied), or numbers from which to make one.
        requires_grad: collect a gradient in `.grad`; needs a floating-point array.
        node: the Node that made it; set by Op.
    """

    __slots__ = ("name",)
    __array_ufunc__ = None  # so that `array * tensor` asks the tensor, and does not lose its gradient

    def __init__(self, data: Any, requires_grad: bool = False, node: Node | None = None) -> None:
        self.data: Array = data if hasattr(data, "__array_function__") else np.asarray(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"a tensor of {self.data.dtype} cannot require a gradient: give it a floating-point array, "
                "or leave requires_grad=False"
            )
        self.grad: Array | None = None
        self.name: str | None = None  # for people: a parameter's path, or whatever you call it
        self.requires_grad, self.node = requires_grad, node

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def numpy(self) -> Array:
        """The values as a NumPy array: the array itself on the CPU, a copy from a GPU."""
        return backends.backend_of(self.data).to_host(self.data)

    def item(self) -> float:
        """The one number in here as a Python number; waits for a GPU to finish."""
        number: float = self.numpy().item()
        return number

    def detach(self) -> Tensor:
        """The same array with no history: gradients stop here."""
        return Tensor(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        """Name, shape, dtype, op, norm and the first values, and those of the gradient if there is one."""
        if not hasattr(self, "data"):  # a debugger looks at it before it is made
            return "Tensor()"
        parts = [f"{self.shape} {self.dtype}"]
        if self.node is not None:
            parts.append(f"{self.node.op}{f' in {self.node.layer}' if self.node.layer else ''}, {self.node.origin}")
        elif self.requires_grad:
            parts.append("requires_grad")
        grad = self.gradient_set()
        parts += [_numbers(self.data)] + ([] if grad is None else [f"grad {_numbers(grad)}"])
        return f"Tensor({f'{self.name!r} ' if self.name else ''}{', '.join(parts)})"

    def backward(self, dy: Any = None, *, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf it was computed from.

        Args:
            dy: upstream gradient, of this tensor's shape or a number (for a loss: its scale). Left out, it is 1,
                which needs a tensor with one element.
            retain_graph: keep the saved arrays, so that backward can run through this graph again.

        Raises:
            AutogradError: nothing here requires a gradient, or `dy` is missing or of another shape.
            GraphFreedError: an earlier backward has freed the graph.
            GradientError: a backward function returned gradients that do not fit its inputs.
        """
        if modes.breakpoints.get():
            for stop in self.backward_steps(dy, retain_graph=retain_graph).stops(history=False):
                breakpoint()  # where a break_on stops: `stop` has the node, dy and dxs; `c` goes on
                del stop  # not `step`, which is a command of pdb
            return
        with BackwardPass(self, dy, retain_graph=retain_graph) as run:
            for node in run.nodes:
                if node not in run.grads:  # every gradient on the way here was None
                    continue
                dy = run.start(node)
                assert node.saved is not None
                dxs = node.backward(dy, *node.saved)  # <- step in here: the hand-written gradient
                run.deliver(dxs)

    if TYPE_CHECKING:  # bound by autograd/debug/__init__.py

        def backward_steps(self, dy: Any = None, *, retain_graph: bool = False) -> Steps: ...

    if TYPE_CHECKING:  # bound to ops by autograd/operators.py

        def __add__(self, other: Operand) -> Tensor: ...
        def __radd__(self, other: Operand) -> Tensor: ...
        def __sub__(self, other: Operand) -> Tensor: ...
        def __rsub__(self, other: Operand) -> Tensor: ...
        def __mul__(self, other: Operand) -> Tensor: ...
        def __rmul__(self, other: Operand) -> Tensor: ...
        def __truediv__(self, other: Operand) -> Tensor: ...
        def __rtruediv__(self, other: Operand) -> Tensor: ...
        def __pow__(self, exponent: float) -> Tensor: ...
        def __matmul__(self, other: Operand) -> Tensor: ...
        def __rmatmul__(self, other: Operand) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def reshape(self, *shape: int) -> Tensor: ...
        def transpose(self, *axes: int) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...


Operand: TypeAlias = Tensor | Array | float


def _numbers(array: Array) -> str:
    """Norm, up to a size at which it takes no time, and first values: little is brought from a GPU."""
    corner = backends.to_host(array[(slice(3),) * array.ndim])
    first = [f"{value:.4g}" if array.dtype.kind in "fc" else str(value) for value in corner.ravel()[:3]]
    size = ""
    if array.dtype.kind in "fc" and array.size <= LARGE:
        size = f"norm {norm(array):.4g}, "
    return f"{size}[{', '.join(first)}{', ...' if array.size > len(first) else ''}]"
