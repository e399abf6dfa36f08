"""Ops of a test's own that make numbers that are not finite, and what `debug()` tells of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autograd import Op, Tensor
from autograd.debug import NonFinite, NonFiniteError, debug
from autograd.debug.nonfinite_origin import Inside

Function = Callable[..., Any]


def found_in(run: Callable[[], Any], *, inf: bool = True) -> NonFinite:
    with pytest.raises(NonFiniteError) as raised, debug(inf=inf):
        run()
    return raised.value.origin


def leaf(values: Any, dtype: str = "float64") -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def backward_of(op: Op, *inputs: Any, dy: float = 1, **attributes: Any) -> Callable[[], None]:
    """A run of the op and of its backward."""

    def run() -> None:
        y = op(*inputs, **attributes)
        y.backward(np.full_like(y.data, dy))

    return run


def told(found: NonFinite) -> Inside:
    assert found.inside is not None, str(found)
    return found.inside


def own_op(forward: Function, backward: Function | None = None) -> Op:
    def none_backward(dy: Any, *saved: Any) -> Any:
        return (dy,)

    return Op(forward, backward or none_backward)


def line_with(function: Function, text: str) -> tuple[str, int]:
    """(file, line) of the one line of the function that has the text."""
    lines, first = inspect.getsourcelines(function)
    (number,) = (i for i, line in enumerate(lines, first) if text in line)
    return inspect.getsourcefile(function) or "", number


def softmax_forward(x: Any) -> Any:
    e = np.exp(x)  # (..., C)
    total = e.sum(-1, keepdims=True)
    return e / total, (e, total)
