"""`gradcheck`: one call that checks the gradients of an op, a function pair, a module or a whole model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autograd.gradcheck.calling import describe
from autograd.gradcheck.compare import Comparison
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.explain import explain
from autograd.gradcheck.frozen import randomness_put_back
from autograd.gradcheck.laws import Law, linear_in_dy
from autograd.gradcheck.locate import ops_at_fault
from autograd.gradcheck.report import Report
from autograd.gradcheck.reproduce import reproducer
from autograd.gradcheck.sane import check_behaviour
from autograd.gradcheck.subject import Pair, ShapeError, Subject
from autograd.gradcheck.tape import Recorded
from autograd.op import Op
from autograd.tensor import Tensor


def gradcheck(
    target: Any,
    inputs: Sequence[Any] = (),
    attributes: Mapping[str, Any] | None = None,
    *,
    parameters: Mapping[str, Tensor] | None = None,
    constants: Sequence[str] = (),
    composed: Callable[..., Tensor] | None = None,
    analytic: bool | None = None,
    directions: int | None = None,
    laws: Sequence[Law] = (),
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare every gradient of `target` with up to three oracles, for a random upstream gradient.

    The oracles are central differences extrapolated to a step of zero, a complex step where the function takes
    complex numbers, and the same function composed of primitives on the tape where such a composition is known. They
    run in float64 at the very numbers that are checked. Points without a derivative are left out and counted.

    Args:
        target: an Op; a pair `(forward, backward)` of functions of arrays, `forward(*arrays, **attributes) -> y, saved`
            and `backward(dy, *saved) -> (dx, ...)`, one gradient per array and None for integers; a module, that is
            anything with `named_parameters()`; or a function of Tensors that returns one.
        inputs: its positional arguments: arrays, Tensors, and whatever else it takes. Floating-point arrays get a
            gradient, and are read-only while they are checked.
        attributes: its keyword arguments.
        parameters: Tensors by name that a function reaches by itself; a module's own are found.
        constants: names of floating-point inputs that get no gradient.
        composed: the same function on Tensors, made of primitives; known for the engine's own ops.
        analytic: True: a complex step must work; False: do not try one; None: find out.
        directions: compare along this many random directions for each input instead of element by element; None:
            element by element up to 256 elements, and 16 directions for more.
        laws: laws that hold for `target`, beside linearity in dy; see `autograd.gradcheck.laws`.
        dtype: of the arrays handed to `target`: "float64" or "float32".
        seed: of the upstream gradients, of the directions and of the random numbers that `target` draws.

    Returns:
        What was compared, and how far apart it was; `str()` of it is a table.

    Raises:
        GradcheckError: a gradient is wrong or a law is broken, and then `.report` has everything; or `target` cannot be
            checked: it is not deterministic, changes its inputs, or returns gradients that do not fit.
    """
    start = time.perf_counter()
    _check_options(directions, laws)
    subject = make_subject(target, inputs, attributes or {}, parameters or {}, constants, dtype, seed)
    report = Report(subject.name, dtype, seed)
    with randomness_put_back(), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)  # a dropped imaginary part is no derivative
        try:
            check_behaviour(subject)
            comparison = Comparison(subject, report, analytic=analytic, directions=directions)
            comparison.run(_composition(target, subject, composed))
        except ShapeError as error:
            comparison = Comparison(subject, report, analytic=analytic, directions=directions)
            comparison.wrong_shape(error)
        if not report.failures:  # a wrong gradient breaks laws too, and says more
            for law in (linear_in_dy, *laws):
                report.laws[law.name] = law.broken(subject, np.random.default_rng(seed))
        else:
            report.at_fault = ops_at_fault(subject) if isinstance(subject, Recorded) else None
            if not report.at_fault:
                explain(comparison)
    report.reproducer = reproducer(target, subject, [law.name for law in laws])
    report.seconds = time.perf_counter() - start
    if report.failures:
        raise GradcheckError(str(report), report)
    return report


def make_subject(
    target: Any,
    inputs: Sequence[Any],
    attributes: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    constants: Sequence[str],
    dtype: str,
    seed: int,
) -> Subject:
    """`target` as a Subject.

    Raises:
        GradcheckError: it is nothing that can be checked.
    """
    if isinstance(target, Op):
        return Pair.of(target, inputs, attributes, constants, dtype, seed)
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        return Pair(*target, inputs, attributes, constants=constants, dtype=dtype, seed=seed)
    if not callable(target):
        what = f"({', '.join(map(describe, target))})" if isinstance(target, tuple) else describe(target)
        raise GradcheckError(
            f"gradcheck was given {what}: give an Op, a pair (forward, backward), a module or a function of Tensors"
        )
    own = dict(target.named_parameters()) if hasattr(target, "named_parameters") else {}
    return Recorded(
        target, inputs, attributes, parameters={**own, **parameters}, constants=constants, dtype=dtype, seed=seed
    )


def _check_options(directions: int | None, laws: Sequence[Law]) -> None:
    """
    Raises:
        GradcheckError: an option is none that `gradcheck` takes.
    """
    if directions is not None and directions < 1:
        raise GradcheckError(f"directions is {directions}: give a number of at least 1, or None")
    for law in laws:
        if not isinstance(law, Law):
            raise GradcheckError(f"laws has {law!r}, which is no law: choose from autograd.gradcheck.laws")


def _composition(target: Any, subject: Subject, composed: Callable[..., Tensor] | None) -> Recorded | None:
    """The subject made of primitives, with the same names and values; None where no composition is known."""
    if composed is None and isinstance(target, Op):
        composed = target.composed
    if isinstance(subject, Recorded):
        return subject.composition(composed)
    if composed is None:
        return None
    return Recorded(
        composed,
        list(subject.values.values()),
        subject.attributes,
        parameters={},
        constants=[name for name in subject.values if name not in subject.wrt],
        dtype="float64",
        seed=subject.seed,
        names=list(subject.values),
        compose=True,
    )
