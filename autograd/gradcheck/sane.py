"""What a function must do before its gradients can be compared: repeat itself, and leave its inputs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.subject import Subject, Values


def check_behaviour(subject: Subject) -> None:
    """Run forward and backward once on arrays that may be written to, and twice on those that are checked.

    A copy may have another memory layout, in which sums are rounded in another order.

    Raises:
        GradcheckError: they write to their inputs or to dy, or give other results the second time.
    """
    y = _unchanged("the forward", subject, lambda values, _: subject.forward(values), None)
    if y.dtype.kind != "f":
        raise GradcheckError(f"{subject.name} returned {y.dtype}: return floating-point numbers")
    if not np.isfinite(y).all():
        raise GradcheckError(f"{subject.name} returned numbers that are not finite: check it at other inputs")
    once, again = (subject.forward(subject.values) for _ in range(2))
    if not np.array_equal(once, again, equal_nan=True):
        raise GradcheckError(
            f"{subject.name} is not deterministic: the same inputs gave other outputs the second time; draw random "
            "numbers from autograd's stream or from NumPy's global generator, which the check freezes, or take a seed"
        )
    dy = subject.upstream(y)
    _unchanged("the backward", subject, subject.gradients, dy)
    first, second = (subject.gradients(subject.values, dy) for _ in range(2))
    for name in subject.wrt:
        if not np.array_equal(first[name], second[name], equal_nan=True):
            raise GradcheckError(
                f"the backward of {subject.name} is not deterministic: the same inputs gave another gradient of {name} "
                "the second time; a backward must depend on dy and the saved arrays alone"
            )


def _unchanged(part: str, subject: Subject, run: Callable[[Values, Any], Any], dy: Array | None) -> Any:
    """What `run` gives on writable copies of the values and of dy.

    Raises:
        GradcheckError: one of them was written to.
    """
    copies = {name: _copy(v) for name, v in subject.values.items()}
    dy_copy = _copy(dy)
    result = run(copies, dy_copy)
    for name, before, after in (*((n, v, copies[n]) for n, v in subject.values.items()), ("dy", dy, dy_copy)):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
            raise GradcheckError(
                f"{part} of {subject.name} writes into {name}, which is its caller's: write to a copy or to a new array"
            )
    return result


def _copy(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x
