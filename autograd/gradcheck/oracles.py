"""Two numeric oracles: the derivative of y along a direction, by differences and by a complex step.

  differences    D(h) = (y(x + h v) - y(x - h v)) / 2h, at three steps, extrapolated to h = 0 (Richardson 1911): what is
                 left is of order h^6; how far the last two extrapolations lie apart bounds it (Ridders 1982)
  complex step   Im y(x + i h v) / h with h = 1e-20: no subtraction, so exact to rounding (Squire & Trapp 1998); for
                 functions that take complex numbers and are analytic

Both give dy_j/dv for every element of y. The gradient along v is their sum weighted by dy; the sum of their
absolute values is the size that roundings are relative to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.tolerance import EPS, SETTLED

Line = Callable[[float | complex], Array]  # t -> y(x + t v)

COMPLEX_STEP = 1e-20
STEP = 2.0**-6  # the largest of the three steps: h^6 is near eps, and h * 2**-2 loses 8 bits of 53
SEARCH = [
    2.0**-k for k in range(3, 26)
]  # steps to search where three are not enough: a kink is near, or the function is steep
NEAR, FAR = 2.0**-21, 2.0**-11  # where slopes to the right and to the left are compared; a bend shrinks like the step
KINK = 0.01  # how much of it is left at the near step where there is a kink, not a bend, of which 2**-10 is left
STEEPER = 1.5  # how many times as steep as all others the slope of the smallest step may be


@dataclass(frozen=True)
class Slope:
    """Derivative of sum(dy * y) along a direction.

    Attributes:
        value: the derivative; NaN where there is none.
        magnitude: sum of |dy_j * dy_j/dv|.
        error: estimate of the error of `value` by differences, 0 for a complex step.
        kink: the function has no derivative here.
        terms: dy_j * dy_j/dv, of y's shape.
    """

    value: float
    magnitude: float
    error: float
    kink: bool
    terms: Array


def complex_step(line: Line, dy: Array) -> Slope | None:
    """The derivative by a complex step, or None where the function does not take complex numbers."""
    try:
        y = line(1j * COMPLEX_STEP)
    except Exception:  # each library refuses complex numbers in its own way; what else is wrong, real numbers show
        return None
    if y.dtype.kind != "c":
        return None
    terms = np.asarray(dy * (y.imag / COMPLEX_STEP))
    return Slope(float(terms.sum()), float(np.abs(terms).sum()), 0.0, False, terms)


def differences(line: Line, dy: Array, noise: Array | float = 0.0) -> Slope:
    """The derivative by differences: three steps or a few more, and a search over many where none of them settles.

    `noise` is what rounding may do to an element of y beyond its last digit, where it is a small rest of large numbers.
    """
    for h in (STEP, STEP / 8):
        slope = _extrapolate(_Central.at(line, dy, noise, [h, h / 2, h / 4]))[0]
        if slope.error <= SETTLED * slope.magnitude:
            return slope
    return search(line, dy, noise)


def search(line: Line, dy: Array, noise: Array | float = 0.0) -> Slope:
    """The best of the extrapolations over a wide range of steps; sees kinks, and steers clear of ones nearby."""
    y = line(0.0)
    central = _Central.at(line, dy, noise, SEARCH)
    best = min(_extrapolate(central), key=lambda slope: slope.error)
    (near, near_rounding), (far, _) = _bend(line, dy, y, NEAR), _bend(line, dy, y, FAR)
    smooth = KINK * np.maximum(np.where(np.isfinite(far), far, 0), np.abs(best.terms))
    kink = not np.isfinite(best.error) or bool((near - near_rounding > smooth).any())
    first, last = (
        central[0],
        central[-1],
    )  # at a jump, or as good as one, the slope of the smallest step is the steepest
    others = np.maximum(np.abs(first.terms), np.abs(best.terms) + best.error)
    kink |= bool((np.abs(last.terms) - last.rounding > STEEPER * others).any())
    return replace(best, kink=kink)


@dataclass(frozen=True)
class _Central:
    """Central differences at one step: dy * (y(h) - y(-h)) / 2h, and what rounding may do to their sum."""

    terms: Array
    rounding: float

    @classmethod
    def at(cls, line: Line, dy: Array, noise: Array | float, steps: Sequence[float]) -> list[_Central]:
        both = [(line(h), line(-h)) for h in steps]
        with np.errstate(all="ignore"):
            # an element that moves at no step does not depend on x, so nothing of it is rounded away
            depends = np.any([above != below for above, below in both], axis=0)
            weight = np.where(depends, np.abs(dy), 0)
            return [
                cls(
                    np.asarray(dy * (above - below) / (2 * h)),
                    float((weight * (EPS["float64"] * (np.abs(above) + np.abs(below)) + noise)).sum() / h),
                )
                for h, (above, below) in zip(steps, both, strict=True)
            ]


def _extrapolate(central: list[_Central]) -> list[Slope]:
    """Richardson's scheme for errors in even powers of h, over each three neighbours of steps that halve."""
    slopes = []
    with np.errstate(all="ignore"):
        for a, b, c in zip(central, central[1:], central[2:], strict=False):
            ab, bc = (4 * b.terms - a.terms) / 3, (4 * c.terms - b.terms) / 3
            terms = np.asarray((16 * bc - ab) / 15)
            value = float(terms.sum())
            error = float(np.abs(terms - bc).sum()) + 4 * c.rounding  # by element: in the sum, large errors may cancel
            error = error if np.isfinite(error) else np.inf
            slopes.append(Slope(value, float(np.abs(terms).sum()), error, False, terms))
    return slopes


def _bend(line: Line, dy: Array, y: Array, h: float) -> tuple[Array, Array]:
    """How far the slopes to the right and to the left lie apart, element by element of y, and what may be rounding."""
    above, below = line(h), line(-h)
    with np.errstate(all="ignore"):
        bend = np.abs(dy * (above - 2 * y + below)) / h
        rounding = 4 * EPS["float64"] * np.abs(dy) * (np.abs(above) + 2 * np.abs(y) + np.abs(below)) / h
    return np.where(np.isfinite(bend), bend, np.inf), np.where(np.isfinite(rounding), rounding, 0)
