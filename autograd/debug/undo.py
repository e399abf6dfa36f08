"""What a step of a backward pass changes, so that it can be taken back bit for bit."""

from __future__ import annotations

from autograd.backends import Array
from autograd.backward_pass import BackwardPass, journal
from autograd.debug.step import Step
from autograd.tape import Leaf, Node

_Notes = dict[Leaf, tuple[Array, Array] | None]  # a leaf's gradient: the array it is, and what it held


class Undo:
    """What the gradients were before a node ran, and before what it gave accumulated."""

    def __init__(self, place: int, node: Node, dy: Array) -> None:
        self.place, self.node, self._dy = place, node, dy
        self.step: Step | None = None
        self._running: _Notes = {}  # of leaves that its backward reached by itself
        self._delivering: _Notes = {}
        self._notes = self._running
        self._incoming: dict[Node, Array | None] = {}
        self._outer = journal.get()  # of a pass one of whose nodes runs this pass

    def note(self, leaf: Leaf) -> None:
        """Called before the gradient of a leaf changes."""
        if self._outer is not None:
            self._outer(leaf)
        if leaf not in self._notes:
            grad = leaf.gradient_set()
            self._notes[leaf] = None if grad is None else (grad, grad.copy())

    def before_delivery(self, step: Step, run: BackwardPass) -> None:
        self.step = step
        self._delivering.clear()
        self._notes = self._delivering
        parents = [parent for parent in self.node.parents if isinstance(parent, Node)]
        self._incoming = {parent: run.grads.get(parent) for parent in parents}

    def take_back_delivery(self, run: BackwardPass) -> None:
        _restore(self._delivering)
        for node, dy in self._incoming.items():
            if dy is None:
                run.grads.pop(node, None)
            else:
                run.grads[node] = dy

    def take_back(self, run: BackwardPass) -> None:
        """Also that the node ran."""
        _restore(self._running)
        run.grads[self.node] = self._dy


def _restore(notes: _Notes) -> None:
    """Into the arrays that they were, for whoever holds one."""
    for leaf, note in notes.items():
        if note is None:
            leaf.set_gradient(None)
        else:
            grad, values = note
            leaf.set_gradient(grad)
            grad[...] = values
