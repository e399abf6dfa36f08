"""Which line within an op's hand-written function made the number that is not finite.

The reference runs again on copies, a few times, each expression watched. What is blamed is the first expression that
gives such numbers out of finite ones, and alone is enough for the result: where all others of its kind are mended to 1,
the result is still wrong, and where it is mended too, it is not. Infinities written there on purpose, such as a mask's,
come of no finite numbers; where they alone are enough, the first expression that makes NaN of them is blamed. Where
this leaves a doubt, nothing is said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd.backends import to_host
from autograd.debug.nonfinite_origin import Inside, Place, operands
from autograd.debug.nonfinite_run import MADE, SPOILT, Event, Run
from autograd.tensor import Tensor

_CANDIDATES = 16  # to try one by one


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
    again = _Again(function, tuple(arguments), attributes, place, pick, inf)
    tracer = sys.gettrace()
    sys.settrace(None)  # a debugger that steps is not to step in here
    try:
        return again.told()
    except Exception:  # it may raise on other numbers; that there is nothing to tell is no error
        return None
    finally:
        sys.settrace(tracer)


@dataclass
class _Again:
    """The call to be repeated."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]
    place: Place
    pick: Callable[[Any], Any]
    inf: bool

    @np.errstate(all="ignore")
    def told(self) -> Inside | None:
        """
        Raises:
            CannotTell: the function cannot be run again.
        """
        plain = Run()
        if repr(Place.of(self._result(plain), inf=self.inf)) != repr(self.place):
            return None  # a fast twin computed other numbers
        blamed = self._blamed(plain)
        if blamed is None:
            return None
        event, wrong = blamed
        keep = Run(keep=event)
        result = self._result(keep)
        if keep.kept is None:
            return None
        values, y = keep.kept
        y = np.asarray(y)
        index = tuple(map(int, np.argwhere(wrong)[0]))
        if wrong.shape != y.shape or np.isfinite(y[index]):
            return None
        at = Place(index, float(y[index]), int(event.wrong.sum()), y.shape)
        if self._takes_arguments(event, values) and np.array_equal(y, result, equal_nan=True):
            return None  # it is all there is to the function
        return _facts(event, at, values)

    def _result(self, run: Run) -> Any:
        """What the place is in."""
        copies: dict[int, Any] = {}
        arguments = tuple(_copy(x, copies) for x in self.arguments)
        attributes = {name: _copy(x, copies) for name, x in self.attributes.items()}
        return self.pick(run.of(self.function, arguments, attributes))

    def _is_wrong(self, run: Run) -> bool:
        """Whether the number at the place is, in another run."""
        x = np.asarray(self._result(run))[self.place.index]
        return bool(not np.isfinite(x) if self.inf else np.isnan(x))

    def _blamed(self, plain: Run) -> tuple[Event, Any] | None:
        """The event, and those of its numbers that are enough, booleans of its value's shape."""
        mend: tuple[str, ...] = (MADE,)
        mended = Run(mend=mend)
        if not self._is_wrong(mended):
            candidates = [event for event in plain.events if event.kind == MADE]
        elif mended.unclear:
            return None
        else:
            candidates = [event for event in mended.events if event.kind == SPOILT]
            mend = (MADE, SPOILT)
            if self._is_wrong(Run(mend=mend)):
                return None
        for event in candidates[:_CANDIDATES]:
            wrong = self._enough(event, mend)
            if wrong is not None:
                return event, wrong
        return None

    def _enough(self, event: Event, mend: tuple[str, ...]) -> Any:
        """One of the event's numbers that makes the result wrong by itself, or else all; None if they do not."""

        def is_enough(wrong: Any) -> bool:
            return self._is_wrong(Run(mend=mend, spare=(event, wrong)))

        places = np.argwhere(event.wrong)  # (n, ndim)
        if is_enough(_only(event, places[:1])):
            return _only(event, places[:1])
        if not is_enough(event.wrong):
            return None
        while len(places) > 1:
            half = places[: len(places) // 2]
            places = half if is_enough(_only(event, half)) else places[len(half) :]
        wrong = _only(event, places)
        return wrong if is_enough(wrong) else event.wrong

    def _takes_arguments(self, event: Event, values: dict[str, Any]) -> bool:
        """Whether the expression's operands are arguments of the function."""
        code = self.function.__code__
        given = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        own = (event.site.function, event.site.file) == (code.co_name, code.co_filename)
        return own and {name for name in values if not _is_literal(name)} <= given


def _facts(event: Event, at: Place, values: dict[str, Any]) -> Inside:
    site = event.site
    return Inside(
        site.function,
        (site.file, site.line),
        site.statement,
        site.expression,
        at.index,
        at.value,
        bool(at.index == tuple(np.argwhere(event.wrong)[0])),
        at.count,
        at.shape,
        operands({name: x for name, x in values.items() if not _is_literal(name)}, at, each=event.each),
    )


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


def _copy(x: Any, copies: dict[int, Any]) -> Any:
    """On the host, what is one array staying one."""
    x = x.data if isinstance(x, Tensor) else x
    if isinstance(x, list | tuple):
        return type(x)(_copy(part, copies) for part in x)
    if not (hasattr(x, "dtype") and hasattr(x, "shape")):
        return x
    if id(x) not in copies:
        copies[id(x)] = to_host(x).copy(order="K")
    return copies[id(x)]
