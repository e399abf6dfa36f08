"""The order in which explanations are tried: the most specific first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autograd.gradcheck.diagnosis import elementwise, missing, rearranged, sums
from autograd.gradcheck.diagnosis.elementwise import first
from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence, largest

_EXPLANATIONS = (
    elementwise.zero,
    elementwise.sign,
    elementwise.factor,
    rearranged.transposed,
    rearranged.operand,
    sums.missing_sum,
    sums.wrong_axes,
    sums.overwritten,
    elementwise.mask,
    elementwise.factor_of_value,
    missing.masked_softmax,
    elementwise.factor_by_slice,
    missing.structured_term,
    missing.by_contribution,
    missing.unstopped,
    missing.unrelated_term,
    elementwise.single,
)


def diagnose(evidence: Evidence) -> Diagnosis:
    """What kind of bug a wrong gradient looks like: the first explanation that fits, most specific first.

    A guess from the numbers alone. It says "unknown" rather than name a kind that fits by coincidence.
    """
    e = evidence
    if e.analytic is None:
        return Diagnosis("no gradient", "has no gradient: backward returned None, and y depends on it")
    for text, a in (("backward returned", e.analytic), ("the numeric gradient has", e.numeric)):
        bad = ~np.isfinite(a)
        if bad.any():
            return Diagnosis(
                "not finite", f"is not finite: {text} {a[bad][0]} at {first(bad)}, {bad.sum()} such in all"
            )
    if e.analytic.shape != e.numeric.shape:
        return rearranged.shape(e)
    if not e.wrong.any():
        raise ValueError(f"nothing to diagnose: no element of the gradient of {e.name} is marked wrong")
    off = np.asarray(np.abs(e.analytic - e.numeric) > e.tolerance * max(e.scale, largest(e.analytic))) & e.wrong
    if off.any():  # those that are wrong by a rounding more than allowed tell no pattern
        e = replace(e, wrong=off)
    if not e.scale:
        return Diagnosis("unknown", "is not zero, but the numeric gradient is zero everywhere: y does not depend on it")
    for explanation in _EXPLANATIONS:
        found = explanation(e)
        if found:
            return found
    return unknown(e)


def unknown(e: Evidence) -> Diagnosis:
    """No kind: the cosine, the ratio of norms, and where the errors are."""
    a, n = e.given, e.numeric
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(n))
    cosine = float((a * n).sum()) / (norms[0] * norms[1]) if all(norms) else 0.0
    return Diagnosis(
        "unknown",
        f"is wrong in {e.wrong.sum()} of {e.wrong.size} elements{e.where}, in a way that fits no known bug: its cosine "
        f"with the numeric gradient is {cosine:.3f}, its norm {norms[0] / norms[1]:.3g} times as large"
        + (
            "; it answers to other elements of dy than those that it reaches: a wrong axis?"
            if missing.mixed_up(e)
            else ""
        ),
    )
