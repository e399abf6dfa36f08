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
from typing import Any

from autograd import modes
from autograd.backward_pass import check_gradients, journal, running
from autograd.debug.errors import DebugError
from autograd.debug.step import Step
from autograd.debug.stepped_pass import SteppedPass
from autograd.debug.undo import Undo
from autograd.tape import Node
from autograd.tensor import Tensor


class Steps:
    """An iterator over the steps of one backward pass, which can also go back. Made by `Tensor.backward_steps`."""

    def __init__(self, output: Tensor, dy: Any = None, *, retain_graph: bool = False) -> None:
        self._retain_graph = retain_graph
        self._run = SteppedPass(output, dy)
        self._next = 0  # place in the tape from which the next node is looked for
        self._n_done = 0
        self._undo: list[Undo] = []
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
        undo = Undo(self._next, node, run.grads[node])
        with run:
            token = journal.set(undo.note)
            try:
                dy = run.start(node)
                assert node.saved is not None
                dxs = node.backward(dy, *node.saved)  # <- step in here: the hand-written gradient
                check_gradients(node, dxs)
                step = run.step(self._n_done, node, dy, list(dxs))  # copies: Ctrl-C or no memory can end it
            except BaseException:
                undo.take_back(run)
                raise
            finally:
                journal.reset(token)
        self._undo.append(undo)
        self._next += 1
        self.step = step
        return step

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
            self._n_done += 1
            self.step = None  # as soon as it is delivered: Ctrl-C in between would have it delivered again
        except BaseException:
            undo.take_back_delivery(self._run)
            raise
        finally:
            journal.reset(token)

    def _repr_html_(self) -> str:
        from autograd.debug.notebook import steps_html  # it imports this

        return steps_html(self)

    def __repr__(self) -> str:
        return f"<backward pass of {len(self.tape)} nodes, {self._n_done} done; at {self.step!r}>"


def _check_kept(node: Node) -> None:
    if node.saved is None:
        raise DebugError(
            f"{node!r} was freed by another backward() while this one was stepped through: "
            "run the forward pass again, or call that one with retain_graph=True"
        )
