"""What a diagnosis is made from, what it says, and when two arrays count as equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from autograd.backends import Array

Kind = Literal[
    "no gradient",
    "not finite",
    "shape",
    "zero",
    "sign",
    "factor",
    "transposed",
    "missing sum",
    "overwritten",
    "wrong mask",
    "missing term",
    "unknown",
]


@dataclass(frozen=True)
class Diagnosis:
    """The kind of bug, and one sentence: what it looks like and where to look."""

    kind: Kind
    sentence: str


@dataclass(frozen=True)
class Evidence:
    """One wrong gradient and all that is known about it, as host arrays.

    Args:
        name: of the parameter or input.
        analytic: what the backward returned; None where it returned none; maybe of another shape than `numeric`.
        numeric: the right gradient, of the parameter's shape.
        wrong: booleans of numeric's shape, True where analytic is beyond tolerance; all True if the shapes differ.
        terms: (*parameter's shape, *y.shape), at (i, j) dy[j] times the derivative of y[j] by element i, so that
            numeric is its sum over y's axes; None where that is too large.
        values: every floating-point input and parameter by name, the one in question among them.
        y: the output.
        dy: the upstream gradient, of y's shape.
        more: further pairs (analytic, numeric) for other random dy. Each helps where a gradient is only partly right.
        analytic_terms: (*parameter's shape, *y.shape), at j the analytic gradient for a dy that is zero but at j, so
            that analytic is its sum over y's axes; None where it was not measured. It shows which elements of y a
            gradient leaves out, and which leak into it past a mask.
        tolerance: a and b are equal where |a - b| <= tolerance * max|b|; about 1e-6 in float64.
    """

    name: str
    analytic: Array | None
    numeric: Array
    wrong: Array
    terms: Array | None
    values: Mapping[str, Array]
    y: Array
    dy: Array
    more: Sequence[tuple[Array, Array]] = ()
    tolerance: float = 1e-6
    analytic_terms: Array | None = None

    @property
    def given(self) -> Array:
        """`analytic`, where it is known to be an array of numeric's shape."""
        assert self.analytic is not None
        return self.analytic

    @cached_property
    def scale(self) -> float:
        """The largest absolute value of the right gradient."""
        return largest(self.numeric)

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """The smallest block, one range along each axis, that holds every wrong element."""
        places = np.argwhere(self.wrong)  # (n, ndim)
        return tuple(slice(int(a), int(b) + 1) for a, b in zip(places.min(0), places.max(0), strict=True))

    @cached_property
    def pooled(self) -> tuple[Array, Array]:
        """Analytic and numeric at the wrong elements, (n,) each: of this dy, then of all the others."""
        pairs = [(self.given, self.numeric), *self.more]
        return np.concatenate([a[self.wrong] for a, _ in pairs]), np.concatenate([n[self.wrong] for _, n in pairs])

    @property
    def where(self) -> str:
        """The block that holds every wrong element, as " in [:, 4:8]"; empty if that is the whole array."""
        shape = self.numeric.shape
        if all(s.stop - s.start == n for s, n in zip(self.box, shape, strict=True)):
            return ""
        ranges = (":" if r.stop - r.start == n else f"{r.start}:{r.stop}" for r, n in zip(self.box, shape, strict=True))
        last, n = self.box[-1], shape[-1]
        part = {0: "first", n // 3: "second", n - n // 3: "last"}.get(last.start, "")
        third = n % 3 == 0 and (last.stop - last.start) * 3 == n and part
        return f" in [{', '.join(ranges)}]" + (
            f", the {part} third of the last axis (packed q, k, v?)" if third else ""
        )

    def equal(self, a: Array, b: Array) -> bool:
        """Whether a and b, of one shape, are equal within the tolerance; b may not be all zero."""
        size = largest(b)
        return bool(size > 0 and np.abs(a - b).max() <= self.tolerance * size)

    def zero(self, a: Array) -> Array:
        """Booleans of a's shape: which elements are zero beside the largest of the right gradient."""
        return np.asarray(np.abs(a) <= self.tolerance * self.scale)

    def telling(self, excess: int) -> bool:
        """Whether `excess` more equal numbers than were fitted are no coincidence: four digits of agreement in all."""
        return excess * -math.log10(self.tolerance) >= 4


def largest(a: Array) -> float:
    """max|a|, 0 for an empty array."""
    return float(np.abs(a).max(initial=0))
