"""The tape: what backward goes along, and where each gradient goes on to.

`Tensor.backward` and `backward_steps` hold the loop; a BackwardPass does what comes before and after each
hand-written gradient.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from autograd import backends, origin, saved, workspace
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


class Leaf:
    """What the tape knows of a Tensor: an array, its gradient, and the Node that made it (None for a leaf)."""

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")

    data: Array
    grad: Array | None
    node: Node | None
    requires_grad: bool

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def gradient_place(self) -> tuple[Array, int]:
        """`.grad`, to be written to, and beta: 1 if it holds a gradient to add to, 0 to overwrite all of it."""
        if self.grad is None:
            self.grad = np.empty_like(self.data)
            return self.grad, 0
        return self.grad, 1

    def gradient_set(self) -> Array | None:
        """`.grad`, or None where none is set."""
        return self.grad

    def set_gradient(self, grad: Array | None) -> None:
        """Set `.grad` to these numbers, or to not set."""
        self.grad = grad


class Node:
    """One executed op: which hand-written gradient to call, with what, and where its results go.

    `parents[i]` is where the gradient of input i goes on to: the Node that made that input, the leaf Tensor
    itself, or None where no gradient is wanted. `seq` numbers nodes in order of execution, `origin` says where the op
    was called.
    """

    __slots__ = ("__weakref__", "_held", "backward", "dtype", "op", "origin", "parents", "saved", "seq", "shape")

    def __init__(
        self,
        op: Any,
        backward: Callable[..., Any],
        saved_values: tuple[Any, ...],
        parents: tuple[Node | Leaf | None, ...],
        y: Array,
        protected: tuple[object, ...] = (),
    ) -> None:
        self._held = saved.protect((*saved_values, *protected))
        self.op, self.backward, self.parents = op, backward, parents
        self.saved: tuple[Any, ...] | None = saved_values
        self.shape, self.dtype = y.shape, y.dtype  # of the op's output, so of the gradient that comes in
        self.seq = next(_sequence)
        self.origin = origin.here()

    @property
    def layer(self) -> str | None:
        """Path of the layer that called the op, such as "blocks.0.attn"; None where it was in none."""
        return self.origin.layer_path

    @property
    def saved_bytes(self) -> int:
        """Memory that lives for the backward alone: saved arrays, but for those of leaves, which live anyway."""
        leaves = saved.memory(parent.data for parent in self.parents if not isinstance(parent, Node | None))
        return sum(block.used for owner, block in saved.memory(self.saved or ()).items() if owner not in leaves)

    def free(self) -> None:
        """Let go of the saved arrays and of the older part of the graph."""
        self.saved, self.parents = None, ()
        held, self._held = self._held, []
        saved.release(held)

    def __del__(self) -> None:
        saved.release(self._held)

    def __repr__(self) -> str:
        """Op, number, layer, shape in and out, bytes saved, the user's line."""
        layer = f" in {self.layer}" if self.layer else ""
        inputs = ", ".join("-" if parent is None else str(parent.shape) for parent in self.parents)
        kept = "freed"
        if self.saved is not None:
            kept = f"{inputs} -> {self.shape} {self.dtype}, saved {self.saved_bytes:,} bytes"
        return f"<{self.op} #{self.seq}{layer}: {kept}, {self.origin}>"


class BackwardPass:
    """What is under way while backward goes along the tape of one tensor.

    Attributes:
        nodes: the tape, in backward's order.
        grads: the gradient that has come in for each node that has not run.
        outer: the pass one of whose nodes, a checkpoint, runs this one.
    """

    def __init__(self, output: Leaf, dy: Any, *, retain_graph: bool) -> None:
        """The gradient of a leaf accumulates at once: there is nothing to go along.

        Raises:
            AutogradError: the output requires no gradient, or `dy` is missing or of another shape.
            GraphFreedError: an earlier backward has freed a part of the graph.
        """
        upstream = upstream_gradient(output, dy)
        self.nodes = tape(output)
        for node in self.nodes:  # before any gradient is touched
            if node.saved is None:
                raise GraphFreedError(
                    f"{node!r} was freed by an earlier backward(): run the forward pass again, "
                    "or call the earlier one with retain_graph=True"
                )
        self.grads = dict.fromkeys(self.nodes[:1], upstream)
        self.retain_graph = retain_graph
        self.written: list[Array] = []  # gradients of leaves that `gradient_out` handed to the node that runs
        self.node: Node | None = None
        self.dy = upstream  # of the node that runs
        self.outer, self.watch = running.get(), watcher.get()
        if self.watch is not None:
            self.watch.begin(self, output)
        if not self.nodes:
            accumulate(output, upstream)

    def __enter__(self) -> BackwardPass:
        self._token = running.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        running.reset(self._token)

    def start(self, node: Node) -> Array:
        """The gradient that has come in for `node`, whose backward runs next."""
        self.node, self.dy, self.written = node, self.grads.pop(node), []
        return self.dy

    def place(self, leaf: Leaf) -> tuple[Array, int]:
        """Where the node that runs may write the gradient of a leaf."""
        return _place(leaf)

    def deliver(self, dxs: Sequence[Array | None]) -> None:
        """Hand what the node's backward returned on to leaves and to the nodes that made its inputs.

        Raises:
            GradientError: these are not the gradients of its inputs.
        """
        node = self.node
        assert node is not None
        check_gradients(node, dxs)
        if self.watch is not None:
            self.watch.look(self, node, dxs)
        for parent, dx in zip(node.parents, dxs, strict=False):
            if parent is None or dx is None or any(dx is grad for grad in self.written):
                continue
            if isinstance(parent, Node):
                dx = dx.astype(parent.dtype, copy=False)
                first = self.grads.get(parent)
                self.grads[parent] = dx if first is None else gradient_sum.on(backends.name_of(dx))(first, dx)
            else:
                accumulate(parent, dx.astype(parent.data.dtype, copy=False))
        if not self.retain_graph:
            node.free()


class Watcher(Protocol):
    """Who looks at the numbers of a pass, and raises where they are wrong."""

    def begin(self, run: BackwardPass, output: Leaf) -> None: ...
    def look(self, run: BackwardPass, node: Node, dxs: Sequence[Array | None]) -> None: ...


def upstream_gradient(output: Leaf, dy: Any) -> Array:
    """`dy`, None for a 1, as an array of the output's shape, dtype and backend.

    Raises:
        AutogradError: the output requires no gradient, or `dy` is missing or of another shape.
    """
    if not output.requires_grad:
        raise AutogradError(
            "backward() on a tensor that requires no gradient: none of its inputs has requires_grad=True, "
            "or it was computed under no_grad()"
        )
    y = output.data
    if dy is None:
        if y.size != 1:
            raise AutogradError(
                f"backward() on a tensor of shape {y.shape} needs an upstream gradient: pass one of that shape, "
                "or call it on a loss with one element"
            )
        dy = 1
    elif hasattr(dy, "requires_grad"):  # a Tensor
        dy = dy.data
    if getattr(dy, "shape", ()) not in ((), y.shape):
        raise AutogradError(f"upstream gradient of shape {dy.shape} for a tensor of shape {y.shape}")
    upstream: Array = np.ones_like(y) * dy
    return upstream.astype(y.dtype, copy=False)


def check_gradients(node: Node, dxs: Any) -> None:
    """
    Raises:
        GradientError: what the node's backward returned are not the gradients of its inputs.
    """
    if not isinstance(dxs, tuple | list):
        raise GradientError(
            f"{node.op}_backward returned {type(dxs).__name__}, not a tuple: "
            "return one gradient per input array, `return (dx,)` where there is one"
        )
    n = len(node.parents)
    if len(dxs) < n or any(dx is not None for dx in dxs[n:]):  # optional inputs left out get None
        raise GradientError(
            f"{node.op}_backward returned {len(dxs)} gradients for {n} inputs: "
            "return one per input array, in the order of the forward's arguments, None for integers"
        )
    for i, (parent, dx) in enumerate(zip(node.parents, dxs, strict=False)):
        if parent is None or dx is None:
            continue
        shape = parent.shape if isinstance(parent, Node) else parent.data.shape
        if not hasattr(dx, "shape"):
            raise GradientError(
                f"{node.op}_backward returned {type(dx).__name__} as the gradient of input {i}: "
                f"return an array of the input's shape, {shape}"
            )
        if dx.shape != shape:
            raise GradientError(
                f"{node.op}_backward returned a gradient of shape {dx.shape} for input {i} of shape "
                f"{shape}: a gradient has its input's shape"
            )


running: ContextVar[BackwardPass | None] = ContextVar("running", default=None)
# called with each leaf before its gradient changes: whoever steps back has to know what it was
journal: ContextVar[Callable[[Leaf], None] | None] = ContextVar("journal", default=None)
# looks at what a pass starts from, and at gradients before they accumulate: debug()
watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def _place(leaf: Leaf) -> tuple[Array, int]:
    """`.grad` of a leaf, to be written to, and beta: 1 if it holds a gradient to add to, 0 to overwrite all of it."""
    note = journal.get()
    if note is not None:
        note(leaf)
    return leaf.gradient_place()


def accumulate(leaf: Leaf, dx: Array) -> None:
    """Add `dx` to the gradient of a leaf."""
    grad, beta = _place(leaf)
    if beta:
        grad += dx
    else:
        grad[...] = dx  # a copy: dx may be a view, or shared with another leaf


def gradient_out(x: Array) -> tuple[Array, int]:
    """Where a fast backward may write the gradient of its saved input `x`: an array dx and BLAS's beta.

        dx = beta * dx + gradient

    Called from `Tensor.backward` it is `.grad` of the leaf that x belongs to: a large gradient is then written once,
    and nothing is left to add. beta is 1 where the leaf has a gradient already. Otherwise dx is an array of any values,
    and beta 0. The backward writes all of dx, and returns it as it would return any other array.
    """
    run = running.get()
    if run is not None and run.node is not None and sum(value is x for value in run.node.saved or ()) == 1:
        for leaf in run.node.parents:  # x is not two inputs at once
            if not isinstance(leaf, Node | None) and leaf.data is x:
                dx, beta = run.place(leaf)
                if dx.dtype == x.dtype and dx.flags.carray:  # a user may have set one of another kind
                    run.written.append(dx)
                    return dx, beta
    return workspace.empty(x.shape), 0


def tape(output: Leaf) -> list[Node]:
    """The nodes that `output` was computed by, newest first: backward's order, since inputs are always older."""
    if output.node is None:
        return []
    seen, stack = {output.node}, [output.node]
    while stack:
        for parent in stack.pop().parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=operator.attrgetter("seq"), reverse=True)
