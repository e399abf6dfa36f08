"""Which op of a module or model is at fault: each op is checked alone, on the numbers it was given."""

from __future__ import annotations

from autograd.gradcheck.compare import Comparison
from autograd.gradcheck.explain import explain
from autograd.gradcheck.report import Report
from autograd.gradcheck.subject import Pair, ShapeError
from autograd.gradcheck.tape import Recorded

FEW = 4  # random directions that tell whether an op is wrong at all


def ops_at_fault(subject: Recorded) -> list[Report]:
    """A report with failures for each op, in order of execution, whose own gradients are wrong.

    An op that runs more than once with inputs of the same shapes is checked once, and reported once.
    """
    reports: list[Report] = []
    wrong, seen = set(), set()
    for call in subject.calls():
        shapes = (call.op, *(getattr(x, "shape", None) for x in call.inputs))
        if call.op in wrong or shapes in seen or not any(call.differentiated):
            continue
        seen.add(shapes)
        pair = Pair.of(call.op, call.inputs, call.attributes, call.constants, subject.dtype, subject.seed)
        if _check(pair, FEW).report.failures:
            comparison = _check(pair, None)
            explain(comparison)
            reports.append(comparison.report)
            wrong.add(call.op)
    return reports


def _check(pair: Pair, directions: int | None) -> Comparison:
    comparison = Comparison(pair, Report(pair.name, pair.dtype, pair.seed), analytic=None, directions=directions)
    try:
        comparison.run(None)
    except ShapeError as error:
        comparison.wrong_shape(error)
    return comparison
