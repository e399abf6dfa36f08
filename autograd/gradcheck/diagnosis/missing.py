"""Gradients that are right but for something: a term that is missing, or one that a mask should have stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.diagnosis.elementwise import broadcasts, first
from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence, largest


def structured_term(e: Evidence) -> Diagnosis | None:
    """What is missing is constant along an axis, or in each line proportional to an input, to y or to dy."""
    rest = (e.numeric - e.given)[e.box]
    for axis in reversed(range(rest.ndim)):
        n_wrong, lines = int(e.wrong.sum()), int(e.wrong[e.box].any(axis).sum())
        if e.telling(n_wrong - lines) and e.equal(rest, np.broadcast_to(rest.mean(axis, keepdims=True), rest.shape)):
            return Diagnosis(
                "missing term", f"misses a term that is constant along axis {axis - rest.ndim}{e.where}, like a mean"
            )
        for v, name in directions(e):
            for vectors, text in (((v,), name), ((np.ones_like(v), v), f"a constant plus {name}")):
                if e.telling(n_wrong - lines * len(vectors)) and e.equal(project(rest, vectors, axis), rest):
                    lines_of = f"in each line along axis {axis - rest.ndim}"
                    return Diagnosis("missing term", f"misses a term proportional to {text} {lines_of}{e.where}")
    return None


def directions(e: Evidence) -> Iterator[tuple[Array, str]]:
    """Arrays of the shape of the block of wrong elements, and their names: what a missing term may be made of."""
    shape = e.numeric.shape
    known = [(v, name) for name, v in [*e.values.items(), ("y", e.y)] if v.ndim and broadcasts(v, e.numeric)]
    known = [(np.broadcast_to(v, shape)[e.box], name) for v, name in known]
    for v, name in known:
        yield v - v.mean(-1, keepdims=True), f"{name} - mean({name})"
        yield v, name
    if e.dy.shape == shape:
        dy = e.dy[e.box]
        yield dy, "dy"
        for v, name in known:
            yield dy * v, f"dy * {name}"


def project(rest: Array, vectors: tuple[Array, ...], axis: int) -> Array:
    """Each line of `rest` along the axis, projected on the span of the vectors' lines."""
    lines = np.moveaxis(rest, axis, -1)  # (..., n)
    basis = np.stack([np.moveaxis(v, axis, -1) for v in vectors], -1)  # (..., n, k)
    return np.moveaxis((basis @ (np.linalg.pinv(basis) @ lines[..., None]))[..., 0], -1, axis)


def unstopped(e: Evidence) -> Diagnosis | None:
    """Not zero where no element of y depends on the parameter, wrong elsewhere too: what a mask stops has leaked in."""
    numeric_zero = np.logical_and.reduce([e.zero(n) for n in (e.numeric, *(n for _, n in e.more))])
    if e.terms is not None:
        numeric_zero &= e.zero(np.abs(e.terms).max(tuple(range(e.numeric.ndim, e.terms.ndim))))
    leaked = numeric_zero & ~e.zero(e.given)
    if leaked.sum() < 2 or not e.telling(int(leaked.sum())) or mixed_up(e):
        return None
    return Diagnosis(
        "wrong mask",
        f"looks like a mask that is missing or comes too late: {leaked.sum()} elements ({first(leaked)} first) cannot "
        "change y and yet have a gradient, and others are wrong by what leaks from there",
    )


def masked_softmax(e: Evidence) -> Diagnosis | None:
    """Rows of a softmax are wrong just where y has zeros: the mask came after the softmax, and its sums are others."""
    if e.y.shape != e.numeric.shape or not e.y.ndim:
        return None
    masked = (e.y == 0).any(-1)  # (...)
    wrong = e.wrong.any(-1)  # (...)
    if not masked.any() or (wrong & ~masked).any() or (e.given[e.y == 0] != 0).any():
        return None
    rest = e.numeric - e.given
    excess = int(((e.y != 0).sum(-1) - 2)[wrong].clip(0).sum())
    if not (e.telling(excess) or not masked.all()) or not e.equal(project(rest, (e.y, e.y * e.dy), -1), rest):
        return None
    return Diagnosis(
        "wrong mask",
        "looks like a mask applied after the softmax and not before it: only rows with masked elements are wrong, by a "
        "mix of y and dy * y, as from a row sum over masked elements too",
    )


def by_contribution(e: Evidence) -> Diagnosis | None:
    """An element of y that the gradient does not answer to and should, or does and should not; not both."""
    missing, leaked = contributions(e)
    if missing.any() == leaked.any():
        return None
    p = e.numeric.ndim
    at = first(missing | leaked)
    dy = f"dy{at[p:]}" if at[p:] else "dy"
    if missing.any():
        some = _rows(missing) if p > 1 else ""
        return Diagnosis(
            "missing term",
            f"misses a term{some}: it does not answer to {dy} at {at[:p]}, and to {missing.sum() - 1} more such, "
            "though y does depend on it there: a branch, or one of two uses of a tied weight, is not counted",
        )
    return Diagnosis(
        "wrong mask",
        f"looks like a mask that is missing or comes too late: it answers to {dy} at {at[:p]}, and to "
        f"{leaked.sum() - 1} more such, though y does not depend on it there (or it sums over a wrong axis)",
    )


def contributions(e: Evidence) -> tuple[Array, Array]:
    """Booleans of the terms' shape: where analytic does not answer to an element of dy and should, and the reverse.

    All False where the answers are not known, or are not linear in dy.
    """
    none = np.zeros((*e.numeric.shape, *e.y.shape), bool)
    if e.terms is None or e.analytic_terms is None:
        return none, none
    if not e.equal(e.given, np.asarray(e.analytic_terms.sum(tuple(range(e.numeric.ndim, none.ndim))))):
        return none, none
    given, right = (np.abs(t) / largest(e.terms) for t in (e.analytic_terms, e.terms))
    tiny = 1e-4 * e.tolerance  # two uses may nearly cancel: only what is far smaller is no answer at all
    return np.asarray((right > e.tolerance) & (given < tiny)), np.asarray((given > e.tolerance) & (right < tiny))


def mixed_up(e: Evidence) -> bool:
    """Whether the gradient answers to other elements of dy than those it should, as with a wrong axis."""
    return all(found.any() for found in contributions(e))


def unrelated_term(e: Evidence) -> Diagnosis | None:
    """numeric = analytic + a rest that has nothing to do with it: the regression of numeric on analytic has slope 1."""
    analytic, numeric = e.pooled
    if e.terms is not None and e.analytic_terms is not None:
        if contributions(e)[1].any():
            return None
        per_dy = np.where(e.dy == 0, 0, 1 / np.where(e.dy == 0, 1, e.dy))  # y.shape
        analytic, numeric = (e.analytic_terms * per_dy).ravel(), (e.terms * per_dy).ravel()  # many more to tell by
    rest = numeric - analytic
    common = float((analytic * rest).sum())  # 0 if unrelated; -|rest|^2 if analytic has a term too many
    square, rest_square = float((analytic * analytic).sum()), float((rest * rest).sum())
    error = math.sqrt(float((rest * rest * analytic * analytic).sum())) / square if square else math.inf  # White 1980
    # by chance `common` is of the order of error * square: where that is large, nothing is said
    if (~e.zero(analytic)).sum() < 16 or abs(common) > 0.35 * min(square, rest_square) or error > 0.25:
        return None
    where = e.where if e.wrong.ndim < 2 else _rows(e.wrong)
    return Diagnosis(
        "missing term",
        f"misses a term{where}: the numeric gradient is it plus a rest unrelated to it, as when one of two uses of "
        "a tied weight, or one branch, is not counted",
    )


def _rows(chosen: Array) -> str:
    """The rows with an element that is chosen, as " in 2 of its 7 rows (0, 4)"; empty if these are all."""
    rows = np.flatnonzero(chosen.reshape(len(chosen), -1).any(-1))
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return f" in {len(rows)} of its {len(chosen)} rows ({shown})" if len(rows) < len(chosen) else ""
