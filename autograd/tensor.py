"""Tensor and Node: the tape, and the loop that walks it backwards.

To step through backprop, step from `loss.backward()` into the one line marked below; it enters
`<op>_backward(dy, *saved)`, the hand-written gradient, with every array by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from autograd import backends, saved, workspace
from autograd.backends import Array
from autograd.kernel import Kernel

_sequence = itertools.count()


def add_gradients(a: Array, b: Array) -> Array:
    """Two gradients of one tensor, of its shape."""
    return a + b


gradient_sum = Kernel(add_gradients)


class AutogradError(RuntimeError):
    """A wrong use of the tape; the message says which and what to do."""


class GraphFreedError(AutogradError):
    """`backward()` reached a node that an earlier `backward()` has already freed."""


class GradientError(AutogradError):
    """A hand-written backward returned the wrong number of gradients, or one of the wrong shape."""


class Node:
    """One executed op: which hand-written gradient to call, with what, and where its results go.

    `parents[i]` is where the gradient of input i goes on to: the Node that made that input, the leaf Tensor
    itself, or None where no gradient is wanted. `seq` numbers nodes in order of execution.
    """

    __slots__ = ("__weakref__", "_held", "backward", "dtype", "op", "parents", "saved", "seq", "shape")

    def __init__(
        self,
        op: object,
        backward: Callable[..., Any],
        saved_values: tuple[Any, ...],
        parents: tuple[Node | Tensor | None, ...],
        y: Array,
        protected: tuple[object, ...] = (),
    ) -> None:
        self._held = saved.protect((*saved_values, *protected))
        self.op, self.backward, self.parents = op, backward, parents
        self.saved: tuple[Any, ...] | None = saved_values
        self.shape, self.dtype = y.shape, y.dtype  # of the op's output, so of the gradient that comes in
        self.seq = next(_sequence)

    def free(self) -> None:
        """Let go of the saved arrays and of the older part of the graph."""
        self.saved, self.parents = None, ()
        held, self._held = self._held, []
        saved.release(held)

    def __del__(self) -> None:
        saved.release(self._held)

    def __repr__(self) -> str:
        return f"<{self.op} #{self.seq} {self.shape} {self.dtype}{' freed' if self.saved is None else ''}>"


class Tensor:
    """An array, its gradient, and the Node that made it (None for a leaf).

    Args:
        data: an array (kept, not copied), or numbers from which to make one.
        requires_grad: collect a gradient in `.grad`; needs a floating-point array.
        node: the Node that made it; set by Op.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # so that `array * tensor` asks the tensor, and does not lose its gradient

    def __init__(self, data: Any, requires_grad: bool = False, node: Node | None = None) -> None:
        self.data: Array = data if hasattr(data, "__array_function__") else np.asarray(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"a tensor of {self.data.dtype} cannot require a gradient: give it a floating-point array, "
                "or leave requires_grad=False"
            )
        self.grad: Array | None = None
        self.requires_grad, self.node = requires_grad, node

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

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
        origin = f", {self.node.op}" if self.node else ", requires_grad" if self.requires_grad else ""
        return f"Tensor({self.shape}, {self.dtype}{origin})"

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
        dy = self._upstream(dy)
        if self.node is None:
            accumulate(self, dy)
            return
        nodes = tape(self)
        for node in nodes:  # before any gradient is touched
            if node.saved is None:
                raise GraphFreedError(
                    f"{node!r} was freed by an earlier backward(): run the forward pass again, "
                    "or call the earlier one with retain_graph=True"
                )
        grads = {self.node: dy}
        running = _Running()
        token = _running.set(running)
        try:
            for node in nodes:
                if node not in grads:  # every gradient on the way here was None
                    continue
                dy = grads.pop(node)
                running.node, running.written = node, []
                assert node.saved is not None
                dxs = node.backward(dy, *node.saved)  # <- step in here: the hand-written gradient
                n = len(node.parents)
                if len(dxs) < n or any(dx is not None for dx in dxs[n:]):  # optional inputs left out get None
                    raise GradientError(
                        f"{node.op}_backward returned {len(dxs)} gradients for {n} inputs: "
                        "return one per input array, in the order of the forward's arguments, None for integers"
                    )
                for i, (parent, dx) in enumerate(zip(node.parents, dxs, strict=False)):
                    if parent is None or dx is None or any(dx is grad for grad in running.written):
                        continue
                    if dx.shape != parent.shape:
                        raise GradientError(
                            f"{node.op}_backward returned a gradient of shape {dx.shape} for input {i} of shape "
                            f"{parent.shape}: a gradient has its input's shape"
                        )
                    dx = dx.astype(parent.dtype, copy=False)
                    if isinstance(parent, Tensor):
                        accumulate(parent, dx)
                    else:
                        first = grads.get(parent)
                        grads[parent] = dx if first is None else gradient_sum.on(backends.name_of(dx))(first, dx)
                if not retain_graph:
                    node.free()
        finally:
            _running.reset(token)

    def gradient_place(self) -> tuple[Array, int]:
        """`.grad`, to be written to, and beta: 1 if it holds a gradient to add to, 0 to overwrite all of it."""
        if self.grad is None:
            self.grad = np.empty_like(self.data)
            return self.grad, 0
        return self.grad, 1

    def _upstream(self, dy: Any) -> Array:
        """`dy` as an array of this tensor's shape, dtype and backend."""
        if not self.requires_grad:
            raise AutogradError(
                "backward() on a tensor that requires no gradient: none of its inputs has requires_grad=True, "
                "or it was computed under no_grad()"
            )
        if dy is None:
            if self.size != 1:
                raise AutogradError(
                    f"backward() on a tensor of shape {self.shape} needs an upstream gradient: pass one of that shape, "
                    "or call it on a loss with one element"
                )
            dy = 1
        elif isinstance(dy, Tensor):
            dy = dy.data
        if getattr(dy, "shape", ()) not in ((), self.shape):
            raise AutogradError(f"upstream gradient of shape {dy.shape} for a tensor of shape {self.shape}")
        upstream: Array = np.ones_like(self.data) * dy
        return upstream.astype(self.dtype, copy=False)

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


def accumulate(leaf: Tensor, dx: Array) -> None:
    """Add `dx` to the gradient of a leaf."""
    grad, beta = leaf.gradient_place()
    if beta:
        grad += dx
    else:
        grad[...] = dx  # a copy: dx may be a view, or shared with another leaf


class _Running:
    """The node whose backward runs now, and the gradients of leaves that `gradient_out` handed to it."""

    node: Node
    written: list[Array]


_running: ContextVar[_Running | None] = ContextVar("running", default=None)


def gradient_out(x: Array) -> tuple[Array, int]:
    """Where a fast backward may write the gradient of its saved input `x`: an array dx and BLAS's beta.

        dx = beta * dx + gradient

    Called from `Tensor.backward` it is `.grad` of the leaf that x belongs to: a large gradient is then written once,
    and nothing is left to add. beta is 1 where the leaf has a gradient already. Otherwise dx is an array of any values,
    and beta 0. The backward writes all of dx, and returns it as it would return any other array.
    """
    running = _running.get()
    if running is not None and sum(value is x for value in running.node.saved or ()) == 1:  # not two inputs at once
        for leaf in running.node.parents:
            if isinstance(leaf, Tensor) and leaf.data is x:
                dx, beta = leaf.gradient_place()
                if dx.dtype == x.dtype and dx.flags.carray:  # a user may have set one of another kind
                    running.written.append(dx)
                    return dx, beta
    return workspace.empty(x.shape), 0


def tape(output: Tensor) -> list[Node]:
    """The nodes that `output` was computed by, newest first: backward's order, since inputs are always older."""
    if output.node is None:
        return []
    seen, stack = {output.node}, [output.node]
    while stack:
        for parent in stack.pop().parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: -node.seq)
