"""Hypothesis strategies for the tests of a layer: sizes and arrays, always with the cases that break layers.

    @given_edges(B=sizes(3), C=sizes(4), D=sizes(3), arrays=arrays())
    def test_my_layer(B, C, D, arrays):
        x, weight, bias = arrays.make((B, C), (D, C), (D,))
        gradcheck((my_forward, my_backward), [x, weight, bias], dtype=arrays.dtype)

Random draws may miss a nasty case, so each is also tried by itself, in every profile. What a test is handed prints as
the source that makes it, so a failing call can be pasted. Needs Hypothesis: pip install hypothesis.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from autograd.backends import Array

T = TypeVar("T")

LAYOUTS = ("C", "F", "strided", "reversed", "broadcast")
VALUES = ("normal", "ties", "zeros", "equal", "large")
DTYPES = ("float64", "float32")


def lay_out(x: Array, layout: str) -> Array:
    """The numbers of x in another memory layout, read-only.

    Args:
        x: an array of any shape.
        layout: "C" or "F": contiguous, the last or the first axis fastest; "strided": every second element of a
            larger array along each axis, with NaN in between; "reversed": negative strides; "broadcast": x[0]
            repeated along the first axis with a stride of 0.
    """
    y: Array
    if layout in ("C", "F"):
        y = np.array(x, order=layout)  # type: ignore[call-overload]  # it is one of the two
    elif layout == "strided":
        y = np.full([2 * n for n in x.shape], np.nan if x.dtype.kind == "f" else 1, x.dtype)
        y = _every(2, y)
        y[...] = x
    elif layout == "reversed":
        y = _every(-1, _every(-1, x).copy())
    elif layout == "broadcast":
        y = np.broadcast_to(x[:1].copy() if x.ndim else x.copy(), x.shape)
    else:
        raise ValueError(f"no memory layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    y.flags.writeable = False
    return y


def _every(step: int, x: Array) -> Array:
    """x[::step] along each axis, a view."""
    index: Any = (..., *[slice(None, None, step)] * x.ndim)
    view: Array = x[index]
    return view


@dataclass(frozen=True)
class Arrays:
    """How to make arrays: the same description makes the same arrays. All are read-only.

    Attributes:
        layout: memory layout, one of `LAYOUTS`; see `lay_out`.
        values: "normal"; "ties": few different numbers; "zeros": of either sign, among normal numbers; "equal": one
            number in all places; "large": +1e4 and -1e4.
        dtype: of floating-point arrays.
        seed: of the random numbers.
    """

    layout: str = "C"
    values: str = "normal"
    dtype: str = "float64"
    seed: int = 0

    def make(self, *shapes: tuple[int, ...]) -> list[Array]:
        """An array of floating-point numbers for each shape."""
        rng = np.random.default_rng(self.seed)
        return [lay_out(np.asarray(self._numbers(rng, shape), self.dtype), self.layout) for shape in shapes]

    def ids(self, shape: tuple[int, ...], below: int) -> Array:
        """Integers in [0, below), of which at least two are alike if there are two; all of them, if values="equal"."""
        ids = np.random.default_rng(self.seed).integers(0, below, 1 if self.values == "equal" else math.prod(shape))
        ids = np.resize(ids, shape)
        if ids.size:
            ids.flat[-1] = ids.flat[0]
        return lay_out(ids, self.layout)

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Booleans; the first row along the last axis is False throughout, and all rows are if values="zeros"."""
        mask = np.asarray(np.random.default_rng(self.seed).random(shape) < 0.6)
        mask[(0,) * (len(shape) - 1)] = math.prod(shape[:-1]) == 1  # a single row is masked only where all rows are
        return lay_out(mask & (self.values != "zeros"), self.layout)

    def _numbers(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        if self.values == "normal":
            return rng.standard_normal(shape)
        if self.values == "ties":
            return rng.choice([-1.5, 0.5, 2.0], shape)
        if self.values == "zeros":
            return rng.standard_normal(shape) * rng.choice([-0.0, 0.0, 1.0], shape)
        if self.values == "equal":
            return np.full(shape, rng.standard_normal())
        if self.values == "large":
            return rng.choice([-1e4, 1e4], shape)
        raise ValueError(f"no kind of values {self.values!r}: choose one of {', '.join(VALUES)}")


@dataclass(frozen=True)
class Edges(Generic[T]):
    """An argument of a test: what to draw it from, and what to try in any case.

    Attributes:
        strategy: what Hypothesis draws from.
        ordinary: the value that goes with the nasty cases of the other arguments.
        nasty: the values that are always tried.
        simpler: values that are simpler than a given one, simplest first.
        smallest: tried together with the smallest of all other arguments; None: has none.
    """

    strategy: st.SearchStrategy[T]
    ordinary: T
    nasty: tuple[T, ...]
    simpler: Callable[[T], Iterator[T]]
    smallest: T | None = None


def sizes(most: int) -> Edges[int]:
    """A length from 1 to `most`; 1 is always tried: one token, one head, one step of time. 2 is an ordinary one."""
    return Edges(st.integers(1, most), min(2, most), (1,), lambda n: iter(range(1, n)), smallest=1)


def choices(ordinary: T, *others: T) -> Edges[T]:
    """One of some values, simplest first; each is always tried."""
    every = (ordinary, *others)
    return Edges(st.sampled_from(every), ordinary, others, lambda value: iter(every[: every.index(value)]))


def arrays(values: tuple[str, ...] = VALUES, dtypes: tuple[str, ...] = DTYPES) -> Edges[Arrays]:
    """How to make arrays; each layout, kind of values and dtype is always tried."""
    ordinary = Arrays(values=values[0], dtype=dtypes[0])
    nasty = [replace(ordinary, layout=layout) for layout in LAYOUTS[1:]]
    nasty += [replace(ordinary, values=kind) for kind in values[1:]]
    nasty += [replace(ordinary, dtype=dtype) for dtype in dtypes[1:]]
    strategy = st.builds(
        Arrays, st.sampled_from(LAYOUTS), st.sampled_from(values), st.sampled_from(dtypes), st.integers(0, 2**32 - 1)
    )

    def simpler(value: Arrays) -> Iterator[Arrays]:
        for name in ("layout", "values", "dtype", "seed"):
            if getattr(value, name) != getattr(ordinary, name):
                yield replace(value, **{name: getattr(ordinary, name)})

    return Edges(strategy, ordinary, tuple(nasty), simpler)


def given_edges(**arguments: Edges[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a test: Hypothesis's `given`, and before it every nasty case of each argument.

    The nasty cases are tried one argument at a time with the others ordinary, and all sizes of 1 at once. A case that
    fails is made simpler as far as it still fails, which Hypothesis does only with what it has drawn.
    """
    cases = _edge_cases(arguments)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                test(*args, **kwargs)
            except HypothesisException:  # an assumption that does not hold
                raise
            except Exception as error:
                drawn = {name: kwargs[name] for name in arguments}
                if drawn not in cases:
                    raise
                fixed = {name: value for name, value in kwargs.items() if name not in arguments}
                simplest, found = _simplest(functools.partial(test, *args, **fixed), arguments, drawn, error)
                call = ", ".join(f"{name}={value!r}" for name, value in simplest.items())
                found.add_note(f"The simplest case that fails: {test.__name__}({call})")
                raise found from None

        for case in reversed(cases):  # the innermost decorator is tried last
            run = example(**case)(run)
        return given(**{name: edges.strategy for name, edges in arguments.items()})(run)

    return decorate


def _edge_cases(arguments: dict[str, Edges[Any]]) -> list[dict[str, Any]]:
    ordinary = {name: edges.ordinary for name, edges in arguments.items()}
    smallest = {name: edges.smallest for name, edges in arguments.items() if edges.smallest is not None}
    each = [{**ordinary, name: value} for name, edges in arguments.items() for value in edges.nasty]
    cases = [{**ordinary, **smallest}, ordinary, *each]
    return [case for i, case in enumerate(cases) if case not in cases[:i]]


def _simplest(
    test: Callable[..., None], arguments: dict[str, Edges[Any]], case: dict[str, Any], error: Exception
) -> tuple[dict[str, Any], Exception]:
    """The simplest case that still fails with an error of the same type, and that error."""
    for name, edges in arguments.items():
        for value in edges.simpler(case[name]):
            simpler = {**case, name: value}
            try:
                test(**simpler)
            except Exception as other:
                if type(other) is type(error):
                    return _simplest(test, arguments, simpler, other)
    return case, error


def register_profiles() -> None:
    """Two profiles of Hypothesis, for a conftest.py: "dev", which is loaded, and "ci".

    `pytest --hypothesis-profile=ci` chooses the other: many draws, the same on every run, and a failure prints what
    repeats it. Neither has a deadline: a test that fails on a busy machine says nothing about a gradient.
    """
    common: dict[str, Any] = {"deadline": None, "report_multiple_bugs": False}
    settings.register_profile("dev", max_examples=10, **common)
    settings.register_profile("ci", max_examples=100, derandomize=True, database=None, print_blob=True, **common)
    settings.load_profile("dev")
