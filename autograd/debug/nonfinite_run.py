"""One run of a function with an eye on which of its expressions make numbers that are not finite.

A run can mend such numbers, to 1, as they are made: what the result becomes then tells which of them matter.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.debug.nonfinite_origin import fit
from autograd.debug.repeatable import is_stepped_over
from autograd.debug.rerun import FILE, Site, copy_of

MADE, SPOILT = "made", "spoilt"  # out of finite numbers; NaN out of infinities
_AT_MOST = 100_000  # expressions; a loop over numbers would take minutes
_COMPUTING = {"builtins", "cmath", "functools", "itertools", "math", "numpy", "operator", "scipy"}
_VALUES = (np.ndarray, np.generic, np.ufunc, np.dtype, int, float, complex, str, bytes, tuple, range, slice)
_Key = tuple[Site, int, str]


class CannotTell(Exception):
    """The function cannot be run again without leaving traces, or would take too long."""


@dataclass(frozen=True, eq=False)
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
    each: bool
    wrong: Array

    @property
    def key(self) -> _Key:
        return self.site, self.nth, self.kind


class Run:
    """
    Args:
        mend: kinds of events whose numbers become 1 as they are made.
        spare: of this event, not those at these places, booleans of its value's shape.
        keep: the event whose operands to copy.

    Attributes:
        events: in order; also of what was mended.
        unclear: a call made such numbers in place, or in one of several arrays.
        kept: the operands by their text, and the value, of the event to keep.
    """

    def __init__(
        self, mend: tuple[str, ...] = (), spare: tuple[Event, Array] | None = None, keep: Event | None = None
    ) -> None:
        self._mend, self._spare, self._keep = mend, spare, keep
        self.events: list[Event] = []
        self.unclear = False
        self.kept: tuple[dict[str, Any], Any] | None = None
        self._counts: Counter[Site] = Counter()
        self._n = 0

    def of(self, function: Callable[..., Any], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """What the function returns.

        Raises:
            CannotTell: its source cannot be run again.
        """
        again = self._copy(function)
        if again is None:
            raise CannotTell
        return again(*arguments, **attributes)

    def _copy(self, f: Any) -> FunctionType | None:
        copy = copy_of(f) if isinstance(f, FunctionType) else None
        return None if copy is None else copy.seen_by(_Eyes(self, copy.sites))

    def call(self, site: Site, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of the function.

        Raises:
            CannotTell: it may do more than compute, such as draw random numbers.
        """
        if f is print or f is breakpoint:
            return None  # once is enough
        if isinstance(f, FunctionType):
            again = f if f.__code__.co_filename == FILE else self._copy(f)  # the one was defined in a copy
            if again is not None:
                return again(*args, **kwargs)
            if not is_stepped_over(f):
                raise CannotTell
        elif not _only_computes(f, site) or any(isinstance(x, FunctionType) for x in (*args, *kwargs.values())):
            raise CannotTell
        each = isinstance(f, np.ufunc) and f.signature is None
        return self.look(site, _operands(site, f, args, kwargs), lambda: f(*args, **kwargs), each=each)

    def look(self, site: Site, named: dict[str, Any], compute: Callable[[], Any], *, each: bool) -> Any:
        """The value of an expression.

        Args:
            named: its operands by their text.
            each: it takes numbers that stand at the same place, one by one.

        Raises:
            CannotTell: this has been going on for long.
        """
        self._n += 1
        if self._n > _AT_MOST:
            raise CannotTell
        nth = self._counts[site]
        self._counts[site] += 1
        if self._keep is not None and self._keep.key[:2] == (site, nth):  # an operator like += will change them
            named = {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in named.items()}
        numbers = [x for x in named.values() if _is_numeric(x)]
        infinite = [np.isinf(x) for x in numbers]
        nan = [np.isnan(x) for x in numbers]
        y = compute()
        if not _is_numeric(y):
            several = y if isinstance(y, list | tuple) else numbers if y is None else []
            were_finite = not any(map(np.any, infinite + nan))
            self.unclear |= were_finite and not all(np.isfinite(x).all() for x in several if _is_numeric(x))
            return y
        if not numbers or np.isfinite(y).all():
            return y
        for kind, wrong in _kinds(y, infinite, nan, each=each):
            event = Event(site, nth, kind, each, wrong)
            self.events.append(event)
            if self._keep is not None and self._keep.key == event.key:
                self.kept = named, y.copy() if isinstance(y, np.ndarray) else y
            if kind in self._mend:
                y = self._mended(y, event)
        return y

    def _mended(self, y: Any, event: Event) -> Any:
        wrong = event.wrong
        if self._spare is not None and self._spare[0].key == event.key and self._spare[1].shape == wrong.shape:
            wrong = wrong & ~self._spare[1]
        if isinstance(y, np.ndarray):
            y[wrong] = 1  # in place: it may be what an operator like += has changed
            return y
        return type(y)(1) if wrong.any() else y


class _Eyes:
    """What the copy of one function hands its expressions to, by the number of their site."""

    def __init__(self, run: Run, sites: tuple[Site, ...]) -> None:
        self._run, self._sites = run, sites

    def call(self, number: int, f: Any, *args: Any, **kwargs: Any) -> Any:
        return self._run.call(self._sites[number], f, args, kwargs)

    def binary(self, number: int, a: Any, b: Any) -> Any:
        """a * b, and so on; a *= b."""
        site = self._sites[number]
        named = {str(site.operands[0]): a, str(site.operands[1]): b}
        compute = functools.partial(getattr(operator, site.symbol), a, b)
        return self._run.look(site, named, compute, each=not site.symbol.endswith("matmul"))

    augmented = binary

    def augmented_item(self, number: int, array: Any, index: Any, b: Any) -> None:
        """array[index] *= b"""
        array[index] = self.binary(number, array[index], b)

    def stored(self, number: int, array: Any, x: Any) -> Any:
        """x of array[index] = x, in the array's dtype: it may be too large for that."""
        if not isinstance(array, np.ndarray) or not _is_numeric(x) or np.can_cast(np.asarray(x).dtype, array.dtype):
            return x
        site = self._sites[number]
        return self._run.look(site, {str(site.operands[0]): x}, lambda: np.asarray(x).astype(array.dtype), each=True)


def _only_computes(f: Any, site: Site) -> bool:
    """Whether a callable that is no function of Python's, or a method, leaves nothing behind."""
    owner = getattr(f, "__self__", None)
    if isinstance(owner, list | dict | set):
        return site.is_own
    if owner is None or isinstance(owner, ModuleType | type):
        module = getattr(f, "__module__", None) or getattr(owner, "__name__", None) or ""
        return module.partition(".")[0] in _COMPUTING and not getattr(f, "__name__", "").startswith("save")
    return isinstance(owner, _VALUES) and f.__name__ not in {"dump", "tofile"}


def _operands(site: Site, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a call takes numbers from: not what it writes to."""
    receiver, *texts = site.operands
    owner = getattr(f, "__self__", None)
    values = (*args, *kwargs.values())
    if None in texts:
        texts = [f"argument {i}" for i in range(len(values))]
    written = {i for i, name in enumerate(kwargs, len(args)) if name == "out"}
    if isinstance(f, np.ufunc):
        written |= set(range(f.nin, len(args)))
    named = {str(receiver): owner} if isinstance(owner, np.ndarray | np.generic) else {}
    for i, (text, x) in enumerate(zip(texts, values, strict=True)):
        if i not in written:
            several = isinstance(x, list | tuple)
            named |= {f"{text}[{j}]": part for j, part in enumerate(x)} if several else {str(text): x}
    return named


def _is_numeric(x: Any) -> bool:
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
