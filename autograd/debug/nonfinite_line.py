"""Which line within an op's hand-written function made the number that is not finite.

The reference runs again, a few times, each expression watched. What is blamed is the first expression that
gives such numbers out of finite ones, and alone is enough for the result: where all others of its kind are mended to 1,
the result is still wrong, and where it is mended too, it is not. Infinities written there on purpose, such as a mask's,
come of no finite numbers; where they alone are enough, the first expression that makes NaN of them is blamed. Where
this leaves a doubt, nothing is said.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from autograd.debug.nonfinite_origin import Inside, Place, operands
from autograd.debug.nonfinite_run import MADE, SPOILT, Event, Run, is_numeric
from autograd.debug.repeatable import frozen
from autograd.debug.rerun import Copy

_SECONDS = 30.0  # after which nothing is said, and after half of which it is enough to know the line
_SHOWN = 8  # operands; a list may hold any number of them


def inside(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    attributes: dict[str, Any],
    place: Place,
    pick: Callable[[Any], Any],
    *,
    inf: bool,
) -> Inside | None:
    """The line of the reference forward or backward `function`, called with these, that made what stands at `place`.

    Args:
        pick: which of what it returns is meant.
        inf: infinities count too, and not only NaN.
    """
    tracer = sys.gettrace()
    sys.settrace(None)  # a debugger that steps is not to step in here
    try:
        return _Again(function, arguments, attributes, place, pick, inf=inf).told()
    except Exception:  # it may raise on other numbers; that there is nothing to tell is no error
        return None
    finally:
        sys.settrace(tracer)


class _Again:
    """The call to be repeated."""

    def __init__(
        self, function: Any, arguments: Any, attributes: dict[str, Any], place: Place, pick: Any, *, inf: bool
    ) -> None:
        self._function: FunctionType = function
        self._arguments = frozen(tuple(arguments))
        self._attributes = {name: frozen(x) for name, x in attributes.items()}
        self._place, self._pick, self._inf = place, pick, inf
        self._copies: dict[FunctionType, Copy] = {}
        self._until = time.monotonic() + _SECONDS

    @np.errstate(all="ignore")
    def told(self) -> Inside | None:
        """
        Raises:
            CannotTell: the function cannot be run again, or this takes too long.
        """
        plain = self._run()
        if repr(Place.of(self._result(plain), inf=self._inf)) != repr(self._place):
            return None  # a fast twin computed other numbers
        blamed = self._blamed(plain)
        if blamed is None:
            return None
        event, wrong = blamed
        keep = self._run(keep=event)
        result = self._result(keep)
        if keep.kept is None or wrong.shape != keep.kept[-1].shape:
            return None
        values, made, y = keep.kept
        shown = {text: x for text, x in values if is_numeric(x) and not _is_literal(text)}
        if made is result and shown.keys() <= set(inspect.signature(self._function).parameters):
            return None  # it is all there is to the function
        index = tuple(map(int, np.argwhere(wrong)[0]))
        if np.iscomplexobj(y) or np.isfinite(y[index]):
            return None
        place = Place(index, float(y[index]), int(event.wrong.sum()), y.shape)
        found = operands(dict(list(shown.items())[:_SHOWN]), place, each=event.each)
        site, is_first = event.site, index == tuple(np.argwhere(event.wrong)[0])
        where, code = (site.file, site.line), (site.statement, site.expression)
        return Inside(site.function, where, *code, index, place.value, is_first, place.count, place.shape, found)

    def _run(self, **how: Any) -> Run:
        return Run(self._copies, self._until, **how)

    def _result(self, run: Run) -> Any:
        """What the place is in."""
        return self._pick(run.again(self._function)(*self._arguments, **self._attributes))

    def _is_wrong(self, run: Run) -> bool:
        """Whether the number at the place is, in another run."""
        x = np.asarray(self._result(run))[self._place.index]
        return bool(not np.isfinite(x) if self._inf else np.isnan(x))

    def _blamed(self, plain: Run) -> tuple[Event, Any] | None:
        """The event, and those of its numbers that are enough, booleans of its value's shape."""
        mend: tuple[str, ...] = (MADE,)
        mended = self._run(mend=mend)
        if not self._is_wrong(mended):
            candidates = plain.events[MADE]
        elif mended.unclear:
            return None
        else:
            candidates = mended.events[SPOILT]
            mend = (MADE, SPOILT)
            if self._is_wrong(self._run(mend=mend)):
                return None
        for event in candidates:
            wrong = self._enough(event, mend)
            if wrong is not None:
                return event, wrong
        return None

    def _enough(self, event: Event, mend: tuple[str, ...]) -> Any:
        """Of the event's numbers one that makes the result wrong, or as few as were found; None if all do not."""

        def is_enough(wrong: Any) -> bool:
            return self._is_wrong(self._run(mend=mend, spare=(event, wrong)))

        if not is_enough(event.wrong):
            return None
        places = np.argwhere(event.wrong)  # (n, ndim)
        enough, first = event.wrong, _only(event, places[:1])
        if is_enough(first):
            return first
        while len(places) > 1 and time.monotonic() < self._until - _SECONDS / 2:
            half = places[: len(places) // 2]
            wrong = _only(event, half)
            places, enough = (half, wrong) if is_enough(wrong) else (places[len(half) :], enough)
        wrong = _only(event, places)
        return wrong if is_enough(wrong) else enough


def _only(event: Event, places: Any) -> Any:
    """Booleans of the event's shape, true at these places (n, ndim)."""
    wrong = np.zeros_like(event.wrong)
    wrong[tuple(places.T)] = True
    return wrong


def _is_literal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
