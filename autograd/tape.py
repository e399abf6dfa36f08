"""The tape: the nodes that a tensor was computed by, which backward goes along."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from autograd import origin, saved
from autograd.backends import Array

_sequence = itertools.count()


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
