"""Walk through backward one node at a time: look, edit, run on, take a step back.

    steps = loss.backward_steps()
    for step in steps:               # step.node has run; its gradients have not accumulated yet
        print(step)
        if step.node.layer == "blocks.0.ln1":
            step.dxs[0] *= 0         # an edited gradient is what flows on
    steps.back()                     # to the stop before: every .grad as it was there, bit for bit

Walked to its end it computes what `loss.backward()` does, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import modes
from autograd.backends import Array
from autograd.debug.errors import DebugError
from autograd.names import named
from autograd.saved import shares_memory
from autograd.tape import BackwardPass, Leaf, Node, add_gradients, check_gradients, journal, running
from autograd.tensor import Tensor


@dataclass(frozen=True)
class Flow:
    """One gradient of a step, and where it goes.

    Attributes:
        input: name of the forward's argument that this is the gradient of.
        target: the node that made the input, the leaf Tensor itself, or None where no gradient is wanted.
        name: of the target, such as "blocks.0.ln1.weight" or "blocks.0.attn.qkv: linear #12".
        before: what has accumulated there, also from inputs before this one; None if nothing.
        gradient: what this step adds, None if nothing.
        after: what is there then.
    """

    input: str
    target: Node | Leaf | None
    name: str
    before: Array | None
    gradient: Array | None

    @property
    def after(self) -> Array | None:
        if self.before is None or self.gradient is None:
            return self.gradient if self.before is None else self.before
        return add_gradients(self.before, self.gradient)


class Step:
    """A node of the tape whose backward has run, stopped before its gradients accumulate.

    Attributes:
        index: 0 for the first node that backward runs.
        node: the node; `node.saved` are the arrays its backward was handed.
        dy: the gradient that came in, of the op's output; read-only, since the node has used it.
        dxs: the gradients that go out, one for each input; may be edited, in place or by assigning to an item.
    """

    def __init__(self, index: int, node: Node, dy: Array, dxs: list[Array | None], run: _SteppedPass) -> None:
        self.index, self.node, self.dy, self.dxs = index, node, _read_only(dy), dxs
        self.sums = run.split_sums(dxs)
        self.shared = _copies_where_shared(node, dy, dxs)
        self._grads = run.grads

    @property
    def name(self) -> str:
        """Of the op and where it stands: "blocks.0.attn: attention #12"."""
        return node_name(self.node)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the backward was handed, by the names it has there: dy and the saved values."""
        return named(self.node.backward, (self.dy, *(self.node.saved or ())))

    @property
    def flows(self) -> list[Flow]:
        """Where each gradient goes, while the pass stands at this step."""
        flows: list[Flow] = []
        for name, (parent, dx) in input_pairs(self.node, self.dxs).items():
            before = None
            earlier = [flow for flow in flows if flow.target is parent]
            if parent is not None and earlier:  # an op of x and x
                before = earlier[-1].after
            elif isinstance(parent, Node):
                before = self._grads.get(parent)
            elif parent is not None:
                before = parent.gradient_set()
            flows.append(Flow(name, parent, target_name(parent), before, None if parent is None else dx))
        return flows

    def __repr__(self) -> str:
        flows = "".join(f"\n  d{flow.input} {_size(flow.gradient)} -> {flow.name}" for flow in self.flows)
        return f"<step {self.index}, {self.node!r}\n  dy {_size(self.dy)}{flows}>"


def node_name(node: Node) -> str:
    """Layer, op and number."""
    return f"{node.layer}: {node.op} #{node.seq}" if node.layer else f"{node.op} #{node.seq}"


def target_name(parent: Node | Leaf | None) -> str:
    """Where a gradient goes, for people."""
    if parent is None:
        return "nowhere: no gradient is wanted"
    if isinstance(parent, Node):
        return node_name(parent)
    return getattr(parent, "name", None) or f"leaf {parent.shape}"


def input_pairs(node: Node, dxs: list[Array | None]) -> dict[str, tuple[Node | Leaf | None, Array | None]]:
    """(where its gradient goes, its gradient) of each input, by its name in the forward."""
    forward = getattr(node.op, "forward", None)  # a checkpoint has none
    return named(forward.reference if forward else None, tuple(zip(node.parents, dxs, strict=False)))


def _size(array: Array | None) -> str:
    return "None" if array is None else f"{array.shape}, norm {float(np.linalg.norm(array.ravel())):.4g}"


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


class _SteppedPass(BackwardPass):
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

    def split_sums(self, dxs: list[Array | None]) -> dict[int, tuple[Array, Array]]:
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
        dxs = list(step.dxs)
        check_gradients(step.node, dxs)
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


def _equal(edited: Array | None, array: Array) -> bool:
    return edited is not None and bool(np.array_equal(edited, array, equal_nan=True))


_Notes = dict[Leaf, tuple[Array, Array] | None]  # a leaf's gradient: the array it is, and what it held


class _Undo:
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


def _check_kept(node: Node) -> None:
    if node.saved is None:
        raise DebugError(
            f"{node!r} was freed by another backward() while this one was stepped through: "
            "run the forward pass again, or call that one with retain_graph=True"
        )


class Steps:
    """An iterator over the steps of one backward pass, which can also go back. Made by `Tensor.backward_steps`."""

    def __init__(self, output: Tensor, dy: Any = None, *, retain_graph: bool = False) -> None:
        self._retain_graph = retain_graph
        self._run = _SteppedPass(output, dy)
        self._next = 0  # place in the tape from which the next node is looked for
        self._n_done = 0
        self._undo: list[_Undo] = []
        self._ended = False
        self.step: Step | None = None  # where it stopped

    @property
    def tape(self) -> list[Node]:
        """All nodes, in backward's order."""
        return self._run.nodes

    @property
    def place(self) -> int:
        """In the tape: of the node it stopped at; between stops, of the one that runs next; its length at the end."""
        return self._next - (self.step is not None)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        """Let the gradients of the present step accumulate, and run the next node.

        Raises:
            GradientError: the gradients of the present step do not fit its inputs.
            DebugError: an array saved for this pass was freed meanwhile.
        """
        self._deliver()
        run, nodes = self._run, self._run.nodes
        while self._next < len(nodes) and nodes[self._next] not in run.grads:
            self._next += 1
        if self._next == len(nodes):
            if not self._retain_graph and not self._ended:
                for node in nodes:
                    node.free()
            self._ended = True
            raise StopIteration
        node = nodes[self._next]
        _check_kept(node)
        undo = _Undo(self._next, node, run.grads[node])
        with run:
            token = journal.set(undo.note)
            try:
                dy = run.start(node)
                assert node.saved is not None
                dxs = node.backward(dy, *node.saved)  # <- step in here: the hand-written gradient
                check_gradients(node, dxs)
            except BaseException:
                undo.take_back(run)
                raise
            finally:
                journal.reset(token)
        self._undo.append(undo)
        self.step = Step(self._n_done, node, dy, list(dxs), run)
        self._next += 1
        return self.step

    def back(self) -> Step:
        """Go back to the stop before this one: every gradient is what it was there, bit for bit.

        Raises:
            DebugError: this is the first step, or the pass has ended and the graph is freed.
        """
        if self._ended and not self._retain_graph:
            raise DebugError(
                "the pass has ended and its graph is freed: make it with backward_steps(retain_graph=True) "
                "to step back from the end"
            )
        at_a_stop = self.step is not None
        if len(self._undo) < 1 + at_a_stop:
            raise DebugError("there is no step before this one: it is the first of the pass")
        if at_a_stop:
            self._undo.pop().take_back(self._run)
        undo = self._undo[-1]
        undo.take_back_delivery(self._run)
        assert undo.step is not None
        self.step, self._next, self._ended = undo.step, undo.place + 1, False
        self._n_done = self.step.index
        return self.step

    def run(self) -> Step | None:
        """Run on to the next stop of a `break_on`, or to the end; returns the step it stopped at, None at the end."""
        return next(self.stops(), None)

    def stops(self, *, history: bool = True) -> Iterator[Step]:
        """The steps at which a `break_on` stops; those that a callback took are handled and not among them.

        Without history nothing is kept to go back, and the graph is freed on the way as `backward` frees it.
        """
        if running.get() is None:  # a checkpoint runs its part of the tape alone
            for breakpoint_ in modes.breakpoints.get():
                breakpoint_.check(self._run.nodes)
                if not history:  # of `backward`, which stops in a debugger
                    breakpoint_.check_debugger()
        for step in self:
            if sum(breakpoint_.stops_at(step) for breakpoint_ in modes.breakpoints.get()):  # each has its say
                yield step
            if not history:
                self._forget()

    def _forget(self) -> None:
        """Let go of what only `back` needs."""
        done = self._undo[:-1]
        del self._undo[:-1]
        if not self._retain_graph:
            for undo in done:
                undo.node.free()

    def _deliver(self) -> None:
        """Let the gradients of the step it stopped at accumulate."""
        if self.step is None:
            return
        _check_kept(self.step.node)
        undo = self._undo[-1]
        undo.before_delivery(self.step, self._run)
        token = journal.set(undo.note)
        try:
            self._run.deliver_step(self.step)
        except BaseException:
            undo.take_back_delivery(self._run)
            raise
        finally:
            journal.reset(token)
        self.step = None
        self._n_done += 1

    def __repr__(self) -> str:
        return f"<backward pass of {len(self.tape)} nodes, {self._n_done} done; at {self.step!r}>"
