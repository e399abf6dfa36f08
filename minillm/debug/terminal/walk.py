"""Where the stepper is in the backward pass: on, back, to a stop, and where it stops."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from itertools import chain
from threading import Event
from typing import Any, Literal

from autograd.debug import Step, break_on
from autograd.debug.errors import unknown
from autograd.layer_paths import and_those_above, within
from autograd.tape import Node
from minillm.debug.session import Session

Kind = Literal["node", "op", "layer"]


class Walk:
    """The steps of a session, and the breakpoints set on them.

    Breakpoints are a mode, and each widget handles its keys in a task with modes of its own: all that steps or sets
    one runs in the modes that the walk was made in. A `break_on` that was on there stops it too. One thread at a time
    may move or set one.

    Attributes:
        stopping: set by another thread, it ends a move between two steps.
    """

    def __init__(self, session: Session) -> None:
        self._steps = session.steps
        self._modes = copy_context()
        self.stopping = Event()
        self._breakpoints: dict[tuple[Kind, Any], break_on] = {}
        self.nodes = session.nodes
        self._places = {node: place for place, node in enumerate(self.nodes)}

    @property
    def step(self) -> Step | None:
        """Where it stopped; None before the first step, after the last, and where a step raised."""
        return self._steps.step

    @property
    def place(self) -> int:
        """In the tape: of the step, or of the node that runs next; the number of nodes at the end."""
        return self._steps.place

    @property
    def ended(self) -> bool:
        return self.place == len(self.nodes)

    @property
    def where(self) -> str:
        """The place, for people; also while another thread moves."""
        place, n = self.place, len(self.nodes)
        return "end" if place == n else f"step {place + 1} of {n}"

    def forward(self) -> None:
        """One step. Like all that moves, raises what the backward of a node raises."""
        self._modes.run(next, self._steps, None)

    def back(self) -> None:
        """
        Raises:
            DebugError: it is at the first step.
        """
        self._modes.run(self._steps.back)

    def run_on(self) -> None:
        """To the next breakpoint or the end."""
        self._modes.run(self._run_on)

    def _run_on(self) -> None:
        with break_on(when=lambda step: self.stopping.is_set()):
            self._steps.run()

    def go_to(self, node: Node) -> None:
        """Forwards or back to the step of the node, or to the one after it if no gradient reaches it."""
        place = self._places[node]
        while self.place > place and not self.stopping.is_set():
            self.back()
        while (self.place < place or (self.step is None and not self.ended)) and not self.stopping.is_set():
            self.forward()

    def first(self) -> None:
        self.go_to(self.nodes[0])

    def last(self) -> None:
        """To the last step, before its gradients accumulate."""
        while not self.ended and not self.stopping.is_set():
            self.forward()
        if self.ended:
            self.back()

    def find(self, text: str, start: int) -> int | None:
        """Place of the first node from `start` on, and round again from the top, whose op or layer has the text."""
        n = len(self.nodes)
        for place in chain(range(start, n), range(min(start, n))):
            node = self.nodes[place]
            if text.lower() in f"{node.op} {node.layer or ''}".lower():
                return place
        return None

    def break_at(self, name: str) -> None:
        """Stop at an op or a layer.

        Raises:
            DebugError: the tape has neither of that name.
        """
        ops = {str(node.op) for node in self.nodes}
        layers = and_those_above(*(node.layer for node in self.nodes if node.layer))
        if name not in ops and not any(within(path, name) for path in layers):
            raise unknown("op or layer", name, ops | layers, " on this tape")
        self._set("op" if name in ops else "layer", name)

    def toggle(self, kind: Kind, node: Node) -> None:
        """Set or clear a breakpoint on a node, or on its op or layer. On a node all that stop at it are cleared."""
        value = {"node": node, "op": str(node.op), "layer": node.layer}[kind]
        here = [key for key in self._breakpoints if _waits_at(*key, node)]
        if kind == "node" and here:
            for key in here:
                self._clear(key)
        elif (kind, value) in self._breakpoints:
            self._clear((kind, value))
        elif value is not None:  # an op outside of layers has none
            self._set(kind, value)

    def stops_at(self, node: Node) -> bool:
        """Whether one of the breakpoints set here does."""
        return any(_waits_at(*key, node) for key in self._breakpoints)

    @property
    def breakpoints(self) -> list[str]:
        """All, for people."""
        return [f"{kind} #{value.seq}" if kind == "node" else f"{kind} {value}" for kind, value in self._breakpoints]

    def _set(self, kind: Kind, value: Any) -> None:
        make: dict[Kind, Callable[[], break_on]] = {
            "node": lambda: break_on(when=lambda step: step.node is value),
            "op": lambda: break_on(op=value),
            "layer": lambda: break_on(layer=value),
        }
        self._breakpoints[kind, value] = self._modes.run(make[kind])

    def _clear(self, key: tuple[Kind, Any]) -> None:
        self._modes.run(self._breakpoints.pop(key).clear)


def _waits_at(kind: Kind, value: Any, node: Node) -> bool:
    if kind == "node":
        return node is value
    return str(node.op) == value if kind == "op" else within(node.layer or "", value)
