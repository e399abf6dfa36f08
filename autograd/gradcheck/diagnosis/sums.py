"""Sums cut short: a contribution that stands where the sum of all belongs. Needs the terms of the numeric gradient."""

from __future__ import annotations

import itertools

import numpy as np

from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence, largest


def missing_sum(e: Evidence) -> Diagnosis | None:
    """Every element is the contribution of one index of one or two of y's axes."""
    if e.terms is None or not e.telling(e.given.size):
        return None
    p, axes = e.numeric.ndim, range(e.y.ndim)
    for count in (1, 2):
        for chosen in itertools.combinations([a for a in axes if e.y.shape[a] > 1], count):
            for indices in itertools.product((0, -1), repeat=count):
                part = e.terms[(slice(None),) * p + tuple(_at(chosen, indices, a) for a in axes)]
                part = np.asarray(part.sum(tuple(range(p, part.ndim))))  # parameter's shape
                if e.equal(e.given, part) and reached_alike(e, chosen, last=-1 in indices):
                    index = " and ".join(
                        f"the {'first' if i == 0 else 'last'} index of y's axis {a}"
                        for a, i in zip(chosen, indices, strict=True)
                    )
                    return Diagnosis("missing sum", f"looks like a missing sum: only {index} is counted")
    return None


def wrong_axes(e: Evidence) -> Diagnosis | None:
    """dy summed over other axes than those that belong, where the lengths happen to fit."""
    if not e.telling(e.given.size):
        return None
    sums = {}  # axes: dy summed over them, in the parameter's shape
    for count in range(1, e.dy.ndim + 1):
        for axes in itertools.combinations(range(e.dy.ndim), count):
            total = np.asarray(e.dy.sum(axes))
            if total.size == e.numeric.size:
                sums[axes] = total.reshape(e.numeric.shape)
    for right, total in sums.items():
        for given, other in sums.items():
            if right != given and e.equal(e.numeric, total) and e.equal(e.given, other):
                return Diagnosis(
                    "missing sum", f"looks like a missing sum over axes {right} of dy: it sums over {given}"
                )
    return None


def overwritten(e: Evidence) -> Diagnosis | None:
    """Each wrong element is the contribution of one row of y, one of several; elements with one such row are right."""
    if e.terms is None or not e.y.ndim or not e.telling(int(e.wrong.sum())):
        return None
    tiny = 1e-4 * e.tolerance * largest(e.terms)  # what differences leave where y does not depend on the parameter
    for leading in range(1, e.y.ndim + 1):  # a row: one index of each of that many leading axes of y
        n_rows = int(np.prod(e.y.shape[:leading]))
        terms = e.terms.reshape(*e.numeric.shape, n_rows, -1)  # (*parameter, rows, rest)
        touches = np.asarray((np.abs(terms) > tiny).any(-1))  # (*parameter, rows)
        rows = terms.sum(-1)  # (*parameter, rows)
        touched = np.asarray(touches.any(-1))  # (*parameter,)
        if not touched.any() or not (np.asarray(touches.sum(-1))[e.wrong] > 1).all():
            continue
        same = touches & (np.abs(rows - e.given[..., None]) <= e.tolerance * e.scale)  # (*parameter, rows)
        if not np.asarray(same.any(-1))[touched].all():
            continue
        last = n_rows - 1 - np.argmax(touches[..., ::-1], -1)  # (*parameter,)
        first = np.argmax(touches, -1)  # (*parameter,)
        which = "one"
        for text, chosen in (("the last", last), ("the first", first)):
            if np.take_along_axis(same, chosen[..., None], -1)[..., 0][e.wrong].all():
                which = text
                break
        return Diagnosis(
            "overwritten",
            f"looks overwritten instead of accumulated{e.where}: each wrong element is the contribution of {which} "
            "of the rows of y that it reaches, not their sum (repeated ids need np.add.at or scatter_add)",
        )
    return None


def reached_alike(e: Evidence, axes: tuple[int, ...], last: bool) -> bool:
    """Whether each index of these axes of y depends on the same elements of the parameter, and none is left out.

    Where repeated ids happen to look so, too, the last index is all that is left if each overwrites the one before.
    """
    assert e.terms is not None
    reached = np.asarray(e.terms != 0)
    by_row = np.asarray(reached.any(-1)) if e.y.ndim > 1 else reached
    if not np.asarray(reached.any(tuple(range(e.numeric.ndim, reached.ndim)))).all() or (last and not by_row.all()):
        return False
    along = [np.moveaxis(reached, e.numeric.ndim + a, 0) for a in axes]
    return all(bool((r == r[:1]).all()) for r in along)


def _at(chosen: tuple[int, ...], indices: tuple[int, ...], axis: int) -> slice:
    """The range of `axis` that keeps the chosen index only; all of it for an axis that was not chosen."""
    if axis not in chosen:
        return slice(None)
    return slice(0, 1) if indices[chosen.index(axis)] == 0 else slice(-1, None)
