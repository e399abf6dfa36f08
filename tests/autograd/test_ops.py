"""Every op, run through every case of the one table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, Case, is_float
from gradients import central_difference, complex_step

from autograd import Op, Tensor

REGISTERED = dict(Op.registry)  # as it stands at import: ops that tests make are no business of this table


def upstream(y: Any) -> Any:
    """A random dy: with ones, a gradient that is summed over the wrong axis can pass."""
    return np.asarray(np.random.default_rng(1).standard_normal(np.shape(y)).astype(y.dtype))


def freeze(values: Any) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False


def gradients(case: Case, inputs: list[Any]) -> tuple[Any, Any, tuple[Any, ...]]:
    """y, dy and the gradients, computed on arrays that may not be written to."""
    freeze(inputs)
    y, saved = case.run(inputs)
    dy = upstream(y)
    freeze((dy, *saved))
    return y, dy, case.backward(dy, saved)


def test_every_op_has_a_case() -> None:
    ours = {
        name for name, op in REGISTERED.items() if op.forward.reference.__module__.startswith(("autograd.", "minillm."))
    }
    assert ours - {case.op for case in CASES} == set(), "add a line to tests/cases.py"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_that_of_central_differences(case: Case) -> None:
    inputs = case.make()
    _, dy, dxs = gradients(case, inputs)
    for i in case.wrt(inputs):
        np.testing.assert_allclose(dxs[i], central_difference(case, inputs, i, dy), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", [case for case in CASES if case.analytic], ids=str)
def test_gradient_is_that_of_a_complex_step(case: Case) -> None:
    inputs = case.make()
    _, dy, dxs = gradients(case, inputs)
    for i in case.wrt(inputs):
        np.testing.assert_allclose(dxs[i], complex_step(case, inputs, i, dy), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_have_shape_and_dtype_of_the_inputs(case: Case, dtype: str) -> None:
    inputs = case.make(dtype)
    y, _, dxs = gradients(case, inputs)
    assert y.dtype == (case.attributes["dtype"] if case.op == "cast" else dtype)
    wanted = case.wrt(inputs)
    for i, x in enumerate(inputs):
        if i in wanted:
            assert dxs[i].shape == x.shape
            assert dxs[i].dtype == dtype
        elif not isinstance(x, float):
            assert dxs[i] is None
    assert all(dx is None for dx in dxs[len(inputs) :])  # optional inputs that were left out


@pytest.mark.parametrize("case", CASES, ids=str)
def test_memory_layout_changes_nothing(case: Case) -> None:
    """Arrays whose first axis is the contiguous one: `reshape` copies these where it would give a view."""
    y, dy, dxs = gradients(case, case.make())
    y2, saved = case.run([np.array(x, order="F") if is_float(x) else x for x in case.make()])
    np.testing.assert_allclose(y2, y, rtol=1e-13, atol=1e-15)
    for dx, dx2 in zip(dxs, case.backward(np.array(dy, order="F"), saved), strict=True):
        if dx is not None:
            np.testing.assert_allclose(dx2, dx, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_through_the_tape_the_gradients_are_the_same(case: Case) -> None:
    inputs = case.make()
    y, dy, dxs = gradients(case, inputs)
    wanted = case.wrt(inputs)
    tensors = [Tensor(x, requires_grad=True) if i in wanted else x for i, x in enumerate(case.make())]
    output = Op.registry[case.op](*tensors, **case.attributes)
    np.testing.assert_array_equal(output.data, y)
    output.backward(dy)
    for i in wanted:
        np.testing.assert_array_equal(tensors[i].grad, dxs[i])
