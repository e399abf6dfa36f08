"""What a wrong gradient looks like: gathers what a diagnosis reads, and adds its sentence to the report."""

from __future__ import annotations

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.compare import Comparison
from autograd.gradcheck.diagnosis import Evidence, diagnose
from autograd.gradcheck.tolerance import SAME_PATTERN

MOST_TERMS = 1 << 22  # elements of the input times elements of the output; a larger input is not diagnosed
MOST_OUTPUTS = 1 << 10  # for more elements of the output than these, the backward is not run for each alone


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
    both = (*x.shape, *y.shape)
    terms = np.reshape([comparison.slope(name, place).terms for place in np.ndindex(x.shape)], both)
    over_y = tuple(range(x.ndim, terms.ndim))
    more, analytic_terms = [], None
    if ours.shape == x.shape:
        for draw in range(3):
            dy = upstream(y, np.random.default_rng((subject.seed, 3, draw)))
            more.append((subject.gradients(subject.values, dy)[name], (terms * (dy / comparison.dy64)).sum(over_y)))
        if y.size <= MOST_OUTPUTS:
            alone = [np.reshape(dy, y.shape) for dy in np.diag(comparison.dy.ravel())]  # dy with one element not zero
            each = [subject.gradients(subject.values, dy)[name] for dy in alone]
            analytic_terms = np.reshape(np.stack(each, -1), both)
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
        analytic_terms=analytic_terms,
    )
