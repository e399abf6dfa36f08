"""What the forward pass makes that is not finite: which op made it, what it was made from, who took it up."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autograd import origin
from autograd.backward_pass import running
from autograd.debug.nonfinite_line import inside
from autograd.debug.nonfinite_origin import (
    Inside,
    NonFinite,
    Place,
    fit,
    is_number,
    op_in_layer,
    operands,
    origin_facts,
)
from autograd.names import named
from autograd.op import Op
from autograd.origin import Origin
from autograd.tape import Node
from autograd.tensor import Tensor


@dataclass(eq=False)
class Record:
    """A result that is not finite.

    Attributes:
        number: in order of execution.
        sources: those of its inputs that are not finite either, where ops made them.
        facts: where it is the first of its kind, for all that is known.
        on_purpose: nothing but infinities that somebody put there, such as a mask's.
        look_inside: finds the line within the op's function, by running it again: for the one that is told of.
        dropped_by: the op that took it, or what came of it, up and gave finite numbers, with its line.
    """

    number: int
    op: Op
    origin: Origin
    sources: list[Record]
    facts: NonFinite | None
    on_purpose: bool
    look_inside: Callable[[], Inside | None] | None
    dropped_by: str | None = field(default=None, init=False)

    def first(self) -> Record:
        """The result that this one comes from: the earliest, before those put there on purpose."""
        known = [record for record in self.all_it_comes_from() if record.facts is not None]
        return min(known, key=lambda record: (record.on_purpose, record.number))

    def described(self) -> NonFinite:
        """The facts about where it came from, with the ops it went through."""
        first, onwards = self.first(), self.all_it_comes_from()
        assert first.facts is not None
        chain: list[Record | None] = [first]
        while (last := chain[-1]) is not None:
            chain.append(onwards[last])
        return replace(
            first.facts,
            spread=tuple(op_in_layer(r.op, r.origin) for r in chain if r is not None),
            inside=first.look_inside() if first.look_inside else None,
        )

    def all_it_comes_from(self) -> dict[Record, Record | None]:
        """Itself and all others on the way here, each with the next one on the shortest."""
        onwards: dict[Record, Record | None] = {self: None}
        queue = [self]
        for record in queue:  # grows meanwhile
            for source in record.sources:
                if source not in onwards:
                    onwards[source] = record
                    queue.append(source)
        return onwards


class Results:
    """The results of ops that are not finite, linked to those they come from.

    Args:
        inf: infinities count too, and not only NaN.

    Attributes:
        loose: those that no op has taken up yet.
    """

    def __init__(self, *, inf: bool) -> None:
        self.inf = inf
        self.loose: dict[int, Record] = {}
        self._numbers = itertools.count()
        self._by_array: dict[int, tuple[weakref.ref[Any], Record]] = {}  # by id, while the array lives
        self._by_node: weakref.WeakKeyDictionary[Node, Record] = weakref.WeakKeyDictionary()

    def finite(self, x: Any) -> bool:
        """Whether the numbers in an array, a Tensor or a number are finite; true of anything else."""
        x = _array(x)
        if hasattr(x, "dtype") and hasattr(x, "shape"):
            return x.dtype.kind in "biuOSU" or bool((np.isfinite(x) if self.inf else ~np.isnan(x)).all())
        return not is_number(x) or (math.isfinite(x) if self.inf else not math.isnan(x))

    def of(self, x: Any) -> Record | None:
        """What made this Tensor or array, if that is known and it was not finite."""
        entry = self._by_array.get(id(_array(x)))
        return None if entry is None else entry[1]

    def of_node(self, node: Node) -> Record | None:
        """The node's result, if it was not finite."""
        return self._by_node.get(node)

    def take_loose(self) -> list[Record]:
        """The first result that no op has taken up, if there is one; from here on there is none."""
        loose = list(self.loose.values())[:1]
        self.loose.clear()
        return loose

    def see(self, op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any], y: Tensor) -> None:
        """An op has run. For `observe`."""
        sources = [record for record in map(self.of, inputs) if record is not None]
        for record in sources:
            self.loose.pop(record.number, None)
        if self.finite(y):
            for source in sources:
                for record in source.all_it_comes_from():
                    record.dropped_by = f"{op} ({y.node.origin if y.node else origin.here()})"
            return
        record = self._record(op, inputs, attributes, y, y.node.origin if y.node else origin.here())
        key = id(y.data)
        self._by_array[key] = weakref.ref(y.data, lambda _: self._forget(key)), record
        if y.node is not None:
            self._by_node[y.node] = record
        if running.get() is None:  # else a checkpoint runs its part again
            self.loose[record.number] = record

    def _forget(self, key: int) -> None:
        self._by_array.pop(key, None)

    def _record(self, op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any], y: Tensor, at: Origin) -> Record:
        values = named(op.forward.reference, inputs)
        wrong = {name: x for name, x in values.items() if not self.finite(x)}
        sources = [record for record in map(self.of, wrong.values()) if record is not None]
        came_in = {name: x for name, x in wrong.items() if self.of(x) is None}
        faulty = {name: x for name, x in came_in.items() if not _may_be_meant(x)}
        facts, on_purpose, look = None, False, None
        if faulty:
            facts = self._came_in(op, at, faulty)
        elif all(source.on_purpose for source in sources):
            on_purpose = bool(wrong) and self._are_handed_on(wrong.values(), y)
            arrays = {name: x for name, x in came_in.items() if np.ndim(_array(x))}
            if came_in if on_purpose else arrays:
                facts = self._came_in(op, at, arrays or came_in)
            elif not on_purpose:
                facts = self._made(op, at, {**values, **attributes}, y, sources)
                arrays = {name: _array(x) for name, x in values.items()}
                if all(x is not y.data for x in arrays.values()):  # it would keep the record
                    look = functools.partial(self._line, op, arrays, attributes, facts)
        return Record(next(self._numbers), op, at, sources, facts, on_purpose, look)

    def _line(self, op: Op, inputs: dict[str, Any], attributes: dict[str, Any], facts: NonFinite) -> Inside | None:
        place = Place(facts.index, facts.value, facts.count, facts.shape)
        first = operator.itemgetter(0)  # y, and not what is saved
        return inside(op.forward.reference, tuple(inputs.values()), attributes, place, first, inf=self.inf)

    def _are_handed_on(self, wrong: Iterable[Any], y: Tensor) -> bool:
        """Whether the infinities in y may be those it was handed: no NaN has come of them, and no infinity is new."""
        if bool(np.isnan(y.data).any()):
            return False
        handed = [~np.isfinite(_array(x)) for x in wrong]
        if not fit(y.shape, y.shape, *(a.shape for a in handed)):
            return True  # the op moves numbers about
        return not bool((~np.isfinite(y.data) & ~functools.reduce(np.logical_or, handed)).any())

    def _came_in(self, op: Op, at: Origin, values: dict[str, Any]) -> NonFinite:
        """An input was not finite, and no op made it."""
        name, x = next(iter(values.items()))
        place = Place.of(_array(x), inf=self.inf)
        label = getattr(x, "name", None)
        if isinstance(x, Tensor) and x.requires_grad and label:
            sentence = f"the parameter {label} came in with {place}: an update before this step wrote it"
        else:
            sentence = f"{label or f'what {op} was handed as {name}'} came in with {place}"
        hint = ""
        if self.loose and (first := next(iter(self.loose.values())).first()).facts is not None:
            hint = f"before it, {first.facts.sentence} ({first.origin}), and no op took that up: it may be from there"
        return origin_facts(f"{sentence}; first in {op_in_layer(op, at)}", op, at, place, hint=hint)

    def _made(self, op: Op, at: Origin, values: dict[str, Any], y: Tensor, sources: list[Record]) -> NonFinite:
        """The op made it."""
        place = Place.of(y.data, inf=self.inf)
        hint = ""
        if sources:
            first = sources[0].first()
            hint = (
                f"the infinities it was handed were put there by {op_in_layer(first.op, first.origin)}, {first.origin}"
            )
        sentence = f"{op_in_layer(op, at)} gave {place}"
        return origin_facts(sentence, op, at, place, operands=operands(values, place), hint=hint)


def _array(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _may_be_meant(x: Any) -> bool:
    """Whether these are infinities in something that is not trained, such as a mask."""
    return not (isinstance(x, Tensor) and x.requires_grad) and not bool(np.isnan(_array(x)).any())
