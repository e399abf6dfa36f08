"""A backward pass that stops at each node: its gradients may be edited before they accumulate."""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import backends
from autograd.backends import Array
from autograd.backward_pass import BackwardPass, check_gradients
from autograd.debug.step import Step
from autograd.saved import shares_memory
from autograd.tape import GradientError, Leaf, Node
from autograd.tensor import Tensor


class SteppedPass(BackwardPass):
    """A pass in which nothing reaches a leaf before its step is delivered, and no node is freed."""

    def __init__(self, output: Tensor, dy: Any) -> None:
        super().__init__(output, dy, retain_graph=True)
        self._befores: list[tuple[Array, Array]] = []  # of the node that runs: place handed out, what it held

    def start(self, node: Node) -> Array:
        self._befores = []
        return super().start(node)

    def place(self, leaf: Leaf) -> tuple[Array, int]:
        """A copy: the leaf's own gradient changes when the step is delivered."""
        grad = leaf.gradient_set()
        if grad is None:
            return np.empty_like(leaf.data), 0
        place = grad.copy()
        self._befores.append((place, grad.copy()))
        return place, 1

    def step(self, index: int, node: Node, dy: Array, dxs: list[Array | None]) -> Step:
        """A stop after `node` has run, whose gradients may be edited without changing any other array."""
        sums = self._split_sums(dxs)
        shared = _copies_where_shared(node, dy, dxs)
        return Step(index, node, _read_only(dy), dxs, self.grads, sums, shared)

    def _split_sums(self, dxs: list[Array | None]) -> dict[int, tuple[Array, Array]]:
        """Where the node added to what a leaf has already: in place of the sum, what it added.

        Returns by place: (sum, what was added). The sum is what a pass without stops leaves, to the last bit.
        """
        sums = {}
        for i, dx in enumerate(dxs):
            for place, before in self._befores:
                if dx is not None and dx is place:
                    dxs[i] = dx - before
                    sums[i] = dx, dx - before
        return sums

    def deliver_step(self, step: Step) -> None:
        """Let the step's gradients accumulate."""
        self.node, self.dy, self.written = step.node, step.dy, []
        check_gradients(step.node, step.dxs, edited=True)
        dxs = list(step.dxs)
        for dx in dxs:
            if dx is not None and backends.name_of(dx) != backends.name_of(step.dy):
                raise GradientError(
                    f"step.dxs of {step.node.op} was edited to an array of {backends.name_of(dx)}: "
                    f"give one of {backends.name_of(step.dy)}, as step.dy is"
                )
        for i, array in step.shared.items():
            if _equal(dxs[i], array):  # not edited
                dxs[i] = array
        for i, (total, added) in step.sums.items():
            dx, leaf = dxs[i], step.node.parents[i]
            if dx is not None and _equal(dx, added):
                assert leaf is not None
                assert not isinstance(leaf, Node)
                super().place(leaf)[0][...] = total
                self.written.append(dx)
        self.deliver(dxs)


def _read_only(array: Array) -> Array:
    if isinstance(array, np.ndarray):  # other libraries' arrays have no such flag
        array = array.view()
        array.flags.writeable = False
    return array


def _copies_where_shared(node: Node, dy: Array, dxs: list[Array | None]) -> dict[int, Array]:
    """A copy for whoever edits, in place of each gradient that shares memory with another array or is read-only.

    Returns by place: the array itself. It is what flows on if nobody edits, since its memory layout may decide about
    the last bit of what is computed from it.
    """
    shared = {}
    others: list[Any] = [dy, *(node.saved or ())]
    for i, (parent, dx) in enumerate(zip(node.parents, dxs, strict=False)):
        if parent is None or dx is None:
            continue
        if not isinstance(dx, np.ndarray) or not dx.flags.writeable or shares_memory(dx, others):
            shared[i] = dx
            dxs[i] = dx.copy()
        others.append(dx)
    return shared


def _equal(edited: Array | None, array: Array) -> bool:
    return edited is not None and bool(np.array_equal(edited, array, equal_nan=True))
