"""One run of a function with an eye on which of its expressions make numbers that are not finite.

A run can mend such numbers, to 1, as they are made: what the result becomes then tells which of them matter.
"""

from __future__ import annotations

import functools
import operator
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.debug.nonfinite_origin import fit
from autograd.debug.repeatable import UNCHANGING, CannotTell, is_stepped_over, only_computes
from autograd.debug.rerun import FILE, Copy, Site, copy_of

MADE, SPOILT = "made", "spoilt"  # out of finite numbers; NaN out of infinities
_CANDIDATES = 16  # events kept of each kind
Operands = list[tuple[str, Any]]  # with their text


@dataclass(frozen=True)
class Event:
    """An expression made numbers that are not finite.

    Attributes:
        site: the expression.
        nth: how often it had run before.
        kind: MADE or SPOILT.
        each: it takes numbers that stand at the same place, one by one.
        wrong: booleans of its value's shape, where it made them.
    """

    site: Site
    nth: int
    kind: str
    each: bool = field(compare=False)
    wrong: Array = field(compare=False)


class Run:
    """
    Args:
        copies: of the functions that ran before; grows.
        until: when to give up, by `time.monotonic()`.
        mend: kinds of events whose numbers become 1 as they are made.
        spare: of this event, not those at these places, booleans of its value's shape.
        keep: the event whose operands to copy.

    Attributes:
        events: the first of each kind, in order; also of what was mended.
        unclear: a call made such numbers in place, in one of several arrays, or out of what cannot be looked at.
        kept: of the event to keep the operands, the value, and the value as it was then.
    """

    def __init__(
        self,
        copies: dict[FunctionType, Copy],
        until: float,
        mend: tuple[str, ...] = (),
        spare: tuple[Event, Array] | None = None,
        keep: Event | None = None,
    ) -> None:
        self._copies, self._until = copies, until
        self._mend, self._spare, self._keep = mend, spare, keep
        self.events: dict[str, list[Event]] = {MADE: [], SPOILT: []}
        self.unclear = False
        self.kept: tuple[Operands, Any, Array] | None = None
        self._counts: Counter[Site] = Counter()

    def again(self, f: FunctionType) -> FunctionType:
        """The function, seen by this run.

        Raises:
            CannotTell: it cannot be run again.
        """
        if f.__code__.co_filename == FILE:
            return f  # it was defined in a copy
        if f not in self._copies:
            self._copies[f] = copy_of(f)
        return self._copies[f].seen_by(self)

    def call(self, site: Site, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        """f(*args, **kwargs)

        Raises:
            CannotTell: it may do more than compute, such as draw random numbers.
        """
        if f is print or f is breakpoint:
            return None  # once is enough
        if isinstance(f, FunctionType) and not is_stepped_over(f):
            return self.again(f)(*args, **kwargs)
        if any(isinstance(x, FunctionType) for x in (*args, *kwargs.values())):
            raise CannotTell
        if not isinstance(f, FunctionType) and not only_computes(f):
            raise CannotTell
        each = isinstance(f, np.ufunc) and f.signature is None
        return self._look(site, _operands(site, f, args, kwargs), lambda: f(*args, **kwargs), each=each)

    def binary(self, site: Site, a: Any, b: Any) -> Any:
        """a * b, and so on; the value of a *= b."""
        operands = [(str(text), x) for text, x in zip(site.operands, (a, b), strict=True)]
        compute = functools.partial(getattr(operator, site.symbol), a, b)
        return self._look(site, operands, compute, each=not site.symbol.endswith("matmul"))

    def augmented_item(self, site: Site, array: Any, index: Any, b: Any) -> None:
        """array[index] *= b"""
        array[index] = self.binary(site, array[index], b)

    def stored(self, site: Site, x: Any, array: Any, index: Any) -> None:
        """array[index] = x, in the array's dtype: it may be too large for that."""
        if isinstance(array, np.ndarray) and is_numeric(x) and not np.can_cast(np.asarray(x).dtype, array.dtype):
            cast = functools.partial(np.asarray(x).astype, array.dtype)
            x = self._look(site, [(str(site.operands[0]), x)], cast, each=True)
        array[index] = x

    def _look(self, site: Site, operands: Operands, compute: Callable[[], Any], *, each: bool) -> Any:
        """The value of an expression.

        Args:
            each: it takes numbers that stand at the same place, one by one.

        Raises:
            CannotTell: this has been going on for long.
        """
        if time.monotonic() > self._until:
            raise CannotTell
        nth = self._counts[site]
        self._counts[site] += 1
        keep = self._keep
        if keep is not None and (keep.site, keep.nth) == (site, nth):  # an operator like += will change them
            operands = [(text, x.copy() if isinstance(x, np.ndarray) else x) for text, x in operands]
        numbers = [x for _, x in operands if is_numeric(x)]
        are_all = all(is_numeric(x) or isinstance(x, UNCHANGING) for _, x in operands)
        infinite = [np.isinf(x) for x in numbers]
        nan = [np.isnan(x) for x in numbers]
        y = compute()
        if not is_numeric(y) or not are_all:
            several = y if isinstance(y, list | tuple) else numbers if y is None else [y]
            were_finite = not any(map(np.any, infinite + nan))
            self.unclear |= were_finite and not all(np.isfinite(x).all() for x in several if is_numeric(x))
            return y
        if not numbers or np.isfinite(y).all():
            return y
        for kind, wrong in _kinds(y, infinite, nan, each=each):
            event = Event(site, nth, kind, each, wrong)
            if len(self.events[kind]) < _CANDIDATES:
                self.events[kind].append(event)
            if event == keep:
                self.kept = operands, y, np.array(y)
            if kind in self._mend:
                y = self._mended(y, event)
        return y

    def _mended(self, y: Any, event: Event) -> Any:
        wrong = event.wrong
        if self._spare is not None and self._spare[0] == event:
            wrong = wrong & ~self._spare[1]
        if isinstance(y, np.ndarray):
            y[wrong] = 1  # in place: it may be what an operator like += has changed
            return y
        return type(y)(1) if wrong.any() else y


def _operands(site: Site, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operands:
    """What a call takes numbers from: not what it writes to."""
    receiver, *texts = site.operands
    owner = getattr(f, "__self__", None)
    values = (*args, *kwargs.values())
    if None in texts:
        texts = [f"argument {i}" for i in range(len(values))]
    written = {i for i, name in enumerate(kwargs, len(args)) if name == "out"}
    if isinstance(f, np.ufunc):
        written |= set(range(f.nin, len(args)))
    found = [] if isinstance(owner, ModuleType | type | NoneType) else [(str(receiver), owner)]
    for i, (text, x) in enumerate(zip(texts, values, strict=True)):
        if i not in written:
            found += _parts(str(text), x)
    return found


def _parts(text: str, x: Any) -> Operands:
    if not isinstance(x, list | tuple):
        return [(text, x)]
    return [part for i, item in enumerate(x) for part in _parts(f"{text}[{i}]", item)]


def is_numeric(x: Any) -> bool:
    """Whether it is, or holds, numbers that might not be finite or come of such."""
    if isinstance(x, np.ndarray | np.generic):
        return x.dtype.kind not in "OSUMm"
    return isinstance(x, float | complex) or (isinstance(x, int) and abs(x) < 1 << 63)


def _kinds(y: Any, infinite: list[Any], nan: list[Any], *, each: bool) -> list[tuple[str, Array]]:
    """Where y is not finite and its operands are, and where it is NaN and they only infinite; what there is of both."""
    wrong, is_nan = np.asarray(~np.isfinite(y)), np.asarray(np.isnan(y))
    each = each and fit(wrong.shape, wrong.shape, *map(np.shape, infinite))
    any_infinite, any_nan = (
        functools.reduce(np.logical_or, parts if each else map(np.any, parts)) for parts in (infinite, nan)
    )
    kinds = {MADE: wrong & ~any_infinite & ~any_nan, SPOILT: is_nan & any_infinite & ~any_nan}
    return [(kind, where) for kind, where in kinds.items() if where.any()]
