"""One pass of backward along the tape, and where each gradient goes on to.

`Tensor.backward` and `backward_steps` hold the loop; a BackwardPass does what comes before and after each
hand-written gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from autograd import backends, workspace
from autograd.backends import Array
from autograd.kernel import Kernel
from autograd.tape import AutogradError, GradientError, GraphFreedError, Leaf, Node, tape


def add_gradients(a: Array, b: Array) -> Array:
    """Two gradients of one tensor, of its shape."""
    return a + b


gradient_sum = Kernel(add_gradients)


class Watcher(Protocol):
    """Who looks at the numbers of a pass, and raises where they are wrong."""

    def begin(self, run: BackwardPass, output: Leaf) -> None: ...
    def look(self, run: BackwardPass, node: Node, dxs: Sequence[Array | None]) -> None: ...


running: ContextVar[BackwardPass | None] = ContextVar("running", default=None)
# called with each leaf before its gradient changes: whoever steps back has to know what it was
journal: ContextVar[Callable[[Leaf], None] | None] = ContextVar("journal", default=None)
# looks at what a pass starts from, and at gradients before they accumulate: debug()
watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


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


def upstream_gradient(output: Leaf, dy: Any) -> Array:
    """`dy`, None for a 1, as an array of the output's shape, dtype and backend.

    Raises:
        AutogradError: the output requires no gradient, or `dy` is missing, of another shape or no number.
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
    if not hasattr(dy, "shape") and not isinstance(dy, int | float | complex):
        raise AutogradError(f"upstream gradient is a {type(dy).__name__}: give a number or an array of shape {y.shape}")
    if getattr(dy, "shape", ()) not in ((), y.shape):
        raise AutogradError(f"upstream gradient of shape {dy.shape} for a tensor of shape {y.shape}")
    dtype = np.dtype(getattr(dy, "dtype", type(dy)))
    if dtype.kind in "OSUMm" or (dtype.kind == "c" and y.dtype.kind != "c"):
        raise AutogradError(f"upstream gradient of {dtype} for a tensor of {y.dtype}: give real numbers")
    upstream: Array = np.ones_like(y) * dy
    return upstream.astype(y.dtype, copy=False)


def check_gradients(node: Node, dxs: Any, *, edited: bool = False) -> None:
    """
    Args:
        edited: somebody has changed them since the node's backward returned them.

    Raises:
        GradientError: what the node's backward returned are not the gradients of its inputs.
    """
    if not isinstance(dxs, tuple | list):
        raise GradientError(
            f"{_returned(node, edited)} {type(dxs).__name__}, not a tuple: "
            "return one gradient per input array, `return (dx,)` where there is one"
        )
    n = len(node.parents)
    if len(dxs) < n or any(dx is not None for dx in dxs[n:]):  # optional inputs left out get None
        raise GradientError(
            f"{_returned(node, edited)} {len(dxs)} gradients for {n} inputs: "
            "return one per input array, in the order of the forward's arguments, None for integers"
        )
    for i, (parent, dx) in enumerate(zip(node.parents, dxs, strict=False)):
        if parent is None or dx is None:
            continue
        shape = parent.shape if isinstance(parent, Node) else parent.data.shape
        if not hasattr(dx, "shape") or isinstance(dx, Leaf):
            raise GradientError(
                f"{_returned(node, edited)} {type(dx).__name__} as the gradient of input {i}: "
                f"return an array of the input's shape, {shape}"
            )
        if dx.shape != shape:
            raise GradientError(
                f"{_returned(node, edited)} a gradient of shape {dx.shape} for input {i} of shape "
                f"{shape}: a gradient has its input's shape"
            )


def _returned(node: Node, edited: bool) -> str:
    return f"step.dxs of {node.op} was edited to" if edited else f"{node.op}_backward returned"


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
