"""The right numbers in the wrong places: another shape, or axes swapped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence


def shape(e: Evidence) -> Diagnosis:
    """Called where the shapes differ; always finds something to say."""
    given, n = e.given, e.numeric
    differ = f"its shape is {given.shape}, the parameter's {n.shape}"
    if given.size == n.size and given.ndim <= n.ndim and e.equal(given.reshape(n.shape), n):
        return Diagnosis("shape", f"has the right values in the wrong shape: {differ}")
    for count in range(1, given.ndim + 1):
        for axes in itertools.combinations(range(given.ndim), count):
            total = np.asarray(given.sum(axes))
            if total.size == n.size and e.equal(total.reshape(n.shape), n):
                text = f"axis {axes[0]}" if count == 1 else f"axes {', '.join(map(str, axes))}"
                return Diagnosis(
                    "missing sum", f"looks like a missing sum over {text}: {differ}, and so summed it is right"
                )
    for axes in itertools.permutations(range(given.ndim)) if given.ndim <= 5 else ():
        if given.transpose(axes).shape == n.shape and e.equal(given.transpose(axes), n):
            return Diagnosis(
                "transposed", f"looks transposed: {differ}, and with its axes in the order {axes} it is right"
            )
    return Diagnosis("shape", f"has the wrong shape: {differ}")


def transposed(e: Evidence) -> Diagnosis | None:
    """The numeric gradient's own values, moved."""
    # all of them: one that moved to a place with nearly its own value is not among the wrong ones
    analytic, numeric = np.sort(e.given, None), np.sort(e.numeric, None)
    if not e.telling(int(e.wrong.sum()) - 1) or not e.equal(analytic, numeric):
        return None
    for block in ((...,), e.box):
        given, wrong = e.given[block], e.wrong[block]
        for candidate, how in rearrangements(e.numeric[block]):
            if e.equal(given[wrong], candidate[wrong]):
                return Diagnosis("transposed", f"looks transposed: it equals the numeric gradient {how}{e.where}")
    if analytic.size * e.tolerance > 0.1:  # so many numbers agree by themselves once sorted
        return None
    return Diagnosis(
        "transposed", f"looks transposed or permuted: it has the right values{e.where} in the wrong places"
    )


def rearrangements(n: Array) -> Iterator[tuple[Array, str]]:
    """n with each two axes swapped, the last one whole or split into heads; with a reshape where it must fit."""
    for width in [0, *(d for d in range(2, n.shape[-1]) if n.shape[-1] % d == 0)] if n.ndim else []:
        view = n.reshape(*n.shape[:-1], -1, width) if width else n
        heads = f", its last axis split into heads of {width}" if width else ""
        for i, j in itertools.combinations(range(view.ndim), 2):
            axes = f"axes {i - view.ndim} and {j - view.ndim}"
            if view.shape[i] == view.shape[j]:
                yield view.swapaxes(i, j).reshape(n.shape), f"with {axes} swapped{heads}"
            yield view.swapaxes(i, j).reshape(n.shape), f"with {axes} swapped and reshaped{heads}"
            block = np.moveaxis(view, (i, j), (-2, -1))
            block = block.swapaxes(-1, -2).reshape(block.shape)  # the bug: reshape, where a transpose belongs
            back = np.moveaxis(block, (-2, -1), (i, j)).reshape(n.shape)
            yield back, f"with {axes} swapped, and then a reshape instead of a transpose{heads}"


def operand(e: Evidence) -> Diagnosis | None:
    """dy @ w where dy @ w.T belongs, or the other way round: both fit if w is square."""
    for name, v in e.values.items():
        if v.ndim < 2 or v.shape[-1] != v.shape[-2] or not e.telling(e.given.size):
            continue
        if e.dy.shape != e.given.shape or e.dy.shape[-1:] != v.shape[-1:] or v.ndim > max(2, e.dy.ndim):
            continue
        t = v.swapaxes(-1, -2)
        for used, right, text in ((v, t, f"{name} where its transpose"), (t, v, f"{name}'s transpose where {name}")):
            if e.equal(e.given, e.dy @ used) and e.equal(e.numeric, e.dy @ right):
                return Diagnosis("transposed", f"looks transposed: it is dy times {text} belongs")
    return None
