"""Bugs that show element by element: zero, sign, a factor, a mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence


def zero(e: Evidence) -> Diagnosis | None:
    """Nothing but zeros in the whole array, or in one range of one axis."""
    if e.zero(e.given).all():
        return Diagnosis("zero", "looks zeroed: it is zero everywhere, and the numeric gradient is not")
    block = e.given[e.box]
    is_slab = sum(s.stop - s.start < n for s, n in zip(e.box, e.numeric.shape, strict=True)) <= 1
    if not is_slab or block.size == 1 or not e.zero(block).all():  # one zero among many elements: rather a mask
        return None
    return Diagnosis("zero", f"looks zeroed: it is zero{e.where}, where the numeric gradient is not")


def sign(e: Evidence) -> Diagnosis | None:
    analytic, numeric = e.pooled
    if not e.equal(analytic, -numeric):
        return None
    return Diagnosis("sign", f"looks like a wrong sign: it is minus the numeric gradient{e.where or ' everywhere'}")


def factor(e: Evidence) -> Diagnosis | None:
    """One constant ratio, over at least two elements."""
    analytic, numeric = e.pooled  # (n,) each
    c = ratio(analytic, numeric)
    if abs(c) <= e.tolerance or not e.telling(analytic.size - 1) or not e.equal(analytic, c * numeric):
        return None
    return Diagnosis("factor", f"looks off by a factor: it is {reading(c, e)} times the numeric gradient{e.where}")


def single(e: Evidence) -> Diagnosis | None:
    """One number says no more than its ratio."""
    analytic, numeric = e.pooled
    if analytic.size != 1 or e.zero(numeric).any():
        return None
    c = reading(float(analytic[0] / numeric[0]), e)
    return Diagnosis("factor", f"looks off by a factor: its one wrong element{e.where} is {c} times as large")


def factor_of_value(e: Evidence) -> Diagnosis | None:
    """An input, parameter or the output that was not multiplied by, or once too often."""
    analytic, numeric = e.given[e.wrong], e.numeric[e.wrong]  # (n,) each
    for name, v in [*e.values.items(), ("y", e.y)]:
        if v.size < 2 or not broadcasts(v, e.numeric):
            continue
        v = np.broadcast_to(v, e.numeric.shape)[e.wrong]  # (n,)
        if not e.telling(analytic.size) or largest_ratio(v) < 1 + e.tolerance:
            continue
        if e.equal(analytic * v, numeric):
            return Diagnosis("factor", f"looks like a factor left out: multiplied by {name} it is right{e.where}")
        if e.equal(analytic, numeric * v):
            return Diagnosis(
                "factor", f"looks like a factor too many: it is the numeric gradient times {name}{e.where}"
            )
    return None


def factor_by_slice(e: Evidence) -> Diagnosis | None:
    """A ratio for each index of one axis, or for each line along one axis."""
    (analytic, numeric), *more = [(a[e.box], n[e.box]) for a, n in ((e.given, e.numeric), *e.more)]
    axes = range(numeric.ndim)
    by_index = [(tuple(a for a in axes if a != axis), f"index of axis {axis}") for axis in axes]
    by_line = [((axis,), f"line along axis {axis}") for axis in axes]
    for over, what in by_index + by_line:
        norm = (numeric * numeric).sum(over, keepdims=True)
        c = (analytic * numeric).sum(over, keepdims=True) / np.where(norm == 0, 1, norm)  # least squares
        fits = e.equal(analytic, c * numeric) and all(e.equal(a, c * n) for a, n in more)
        if fits and e.telling(int(e.wrong.sum()) - c.size) and (c != 0).all():
            shown = ", ".join(f"{x:.6g}" for x in c.ravel()[:3]) + (", ..." if c.size > 3 else "")
            return Diagnosis("factor", f"looks off by a factor, another for each {what}{e.where}: {shown}")
    return None


def mask(e: Evidence) -> Diagnosis | None:
    """Right, or right but for one factor, where both are not zero; elsewhere one of the two is zero."""
    analytic_zero, numeric_zero = e.zero(e.given), e.zero(e.numeric)
    both = ~analytic_zero & ~numeric_zero
    too_few, too_many = analytic_zero & ~numeric_zero, numeric_zero & ~analytic_zero
    if not (too_few | too_many).any():
        return None
    c = ratio(e.given[both], e.numeric[both])
    right = abs(c - 1) <= e.tolerance
    if both.any():
        if not e.equal(e.given[both], c * e.numeric[both]) or not (right or e.telling(int(both.sum()) - 1)):
            return None
    elif not (too_few.any() and too_many.any()):
        return None
    parts = []
    if too_few.any():
        parts.append(f"is zero in {too_few.sum()} elements ({first(too_few)} first) whose numeric gradient is not")
    if too_many.any():
        parts.append(f"is not zero in {too_many.sum()} elements ({first(too_many)} first) whose numeric gradient is")
    found = f"looks like a wrong mask: it {' and '.join(parts)}"
    if both.any():
        found += "; elsewhere it is " + ("right" if right else f"{reading(c, e)} times as large")
    return Diagnosis("wrong mask", found)


def ratio(analytic: Array, numeric: Array) -> float:
    """The c that brings c * numeric nearest to analytic; 0 where numeric is zero."""
    norm = float((numeric * numeric).sum())
    return float((analytic * numeric).sum()) / norm if norm else 0.0


def broadcasts(v: Array, to: Array) -> bool:
    """Whether v broadcasts to the shape of `to`."""
    return v.ndim <= to.ndim and all(a in (1, b) for a, b in zip(v.shape[::-1], to.shape[::-1], strict=False))


def largest_ratio(v: Array) -> float:
    """How far from constant v is: its largest over its smallest absolute value."""
    smallest = float(np.abs(v).min())
    return float(np.abs(v).max()) / smallest if smallest else math.inf


def first(chosen: Array) -> list[int]:
    """The first index that is True."""
    return [int(i) for i in np.argwhere(chosen)[0]]


def reading(c: float, e: Evidence) -> str:
    """A factor as a number, and what it may stand for: "0.5 = 1/sqrt(4), 4 the length of axis 1 of x"."""
    meant = next((text for value, text in readings(e, c) if abs(c - value) <= 0.1 * e.tolerance * abs(c)), "")
    return f"{c:.6g}" + (f" = {meant}" if meant else "")


def readings(e: Evidence, c: float) -> Iterator[tuple[float, str]]:
    """What a factor of about c may be, most telling first."""
    lengths: dict[int, str] = {}  # length: whose
    for name, a in [(e.name, e.numeric), ("y", e.y), *e.values.items()]:
        for axis, n in enumerate(a.shape):
            lengths.setdefault(n, f"{n} the length of axis {axis} of {name}")
        lengths.setdefault(a.size, f"{a.size} the number of elements of {name}")
        lengths.setdefault(a[..., 0].size if a.ndim else 1, f"the number of rows of {name}")
    for n, whose in lengths.items():
        if n > 1:
            yield n, f"{n}, {whose}"
            yield 1 / n, f"1/{n}, {whose}"
            yield math.sqrt(n), f"sqrt({n}), {whose}"
            yield 1 / math.sqrt(n), f"1/sqrt({n}), {whose}"
    simple = Fraction(c).limit_denominator(12)
    yield float(simple), str(simple)
    p = round(1 - c, 3)
    yield 1 - p, f"1 - {p:g} (the scale of dropout?)"
    p = round(1 - 1 / c, 3)
    if p != 1:
        yield 1 / (1 - p), f"1/(1 - {p:g}) (the scale of dropout?)"
    square = Fraction(c * c).limit_denominator(256)
    if square > 0 and 1 in (square.numerator, square.denominator):
        root = f"sqrt({max(square.numerator, square.denominator)})"
        yield math.copysign(math.sqrt(square), c), ("1/" if square < 1 else "") + root + " (a head width?)"
    simple = Fraction(c).limit_denominator(100)
    yield float(simple), str(simple)
