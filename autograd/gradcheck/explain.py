"""What a wrong gradient looks like: gathers what a diagnosis reads, and adds its sentence to the report."""

from __future__ import annotations

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.compare import Comparison
from autograd.gradcheck.diagnosis import Evidence, diagnose
from autograd.gradcheck.subject import upstream
from autograd.gradcheck.tolerance import SAME_PATTERN

MOST_TERMS = 1 << 22  # elements of the input times elements of the output; a larger input is not diagnosed


def explain(comparison: Comparison) -> None:
    """Add a diagnosis to each failure of the comparison's report."""
    for row in comparison.report.rows:
        if row.name in comparison.wrong:
            ours, wrong = comparison.wrong[row.name]
            if wrong.size * comparison.y.size > MOST_TERMS:
                sentence = "none for an input of this size: check a smaller one"
            else:
                sentence = diagnose(_evidence(comparison, row.name, ours, wrong)).sentence
            row.failure = f"{row.failure}\n  diagnosis: {sentence}"


def _evidence(comparison: Comparison, name: str, ours: Array, wrong: Array) -> Evidence:
    """All that a diagnosis looks at; the numeric gradient is taken anew, element by element."""
    subject, x, y = comparison.subject, comparison.exact[name], comparison.y
    slopes = [comparison.slope(name, place).terms for place in np.ndindex(x.shape)]
    terms = np.array(slopes).reshape(*x.shape, *y.shape)  # (*x.shape, *y.shape)
    over_y = tuple(range(x.ndim, terms.ndim))
    more = []
    for i in range(3 if ours.shape == x.shape else 0):
        dy = upstream(y, np.random.default_rng((subject.seed, 3, i)))
        more.append((subject.gradients(subject.values, dy)[name], (terms * (dy / comparison.dy64)).sum(over_y)))
    return Evidence(
        name=name,
        analytic=ours,
        numeric=terms.sum(over_y),
        wrong=wrong,
        terms=terms,
        values={n: comparison.exact[n] for n in subject.wrt},
        y=y,
        dy=comparison.dy64,
        more=more,
        tolerance=SAME_PATTERN,
    )
