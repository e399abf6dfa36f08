"""Operators on Tensor over shapes that Hypothesis draws: values are NumPy's, gradients those of a linear map.

Each op here is linear in either operand alone, so its gradient is exact: <dy, f(dx)> = <grad, dx> for any dx.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograd import Tensor, ops

SEEDS = st.integers(0, 2**32 - 1)


def assert_adjoint(f: Any, x: Any, seed: int) -> None:
    """The gradient of x through f, which is affine in x, against f itself."""
    rng = np.random.default_rng(seed)
    leaf = Tensor(x, requires_grad=True)
    y = f(leaf)
    expected = f(x)
    np.testing.assert_array_equal(y.data, expected)
    dy = rng.standard_normal(np.shape(expected))
    y.backward(dy)
    assert leaf.grad is not None
    assert leaf.grad.shape == x.shape
    dx = rng.standard_normal(x.shape)
    change = (dy * (f(x + dx) - expected)).sum()
    scale = np.abs(dy).sum() * 20 + 1e-9
    np.testing.assert_allclose((leaf.grad * dx).sum(), change, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul, operator.truediv])
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=4), seed=SEEDS)
def test_arithmetic(op: Any, shapes: hnp.BroadcastableShapes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.uniform(0.5, 2, shape)) for shape in shapes.input_shapes)
    assert_adjoint(lambda x: op(x, b), a, seed)
    if op is not operator.truediv:  # 1/x is not affine; tests/cases.py has it
        assert_adjoint(lambda x: op(b, x), a, seed)


@given(shapes=hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_side=3, max_dims=2), seed=SEEDS)
def test_matmul(shapes: hnp.BroadcastableShapes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape) for shape in shapes.input_shapes)
    rtol = {"rtol": 1e-9, "atol": 1e-12}
    left, right = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    y = left @ right
    np.testing.assert_array_equal(y.data, a @ b)
    dy, da, db = (rng.standard_normal(np.shape(x)) for x in (a @ b, a, b))
    y.backward(dy)
    assert left.grad is not None
    assert right.grad is not None
    np.testing.assert_allclose((left.grad * da).sum(), (dy * (da @ b)).sum(), **rtol)
    np.testing.assert_allclose((right.grad * db).sum(), (dy * (a @ db)).sum(), **rtol)


@given(data=st.data(), shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), seed=SEEDS)
def test_getitem(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    index = data.draw(
        hnp.basic_indices(shape, allow_newaxis=True)
        | hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=5))
        | hnp.arrays(bool, shape)
        | hnp.arrays(bool, shape[:1])
    )
    x = np.random.default_rng(seed).standard_normal(shape)
    assert_adjoint(lambda x: x[index], x, seed)


@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=3), seed=SEEDS)
def test_transpose_and_concatenate(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(shape)
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    assert_adjoint(lambda x: x.transpose(axes), x, seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))

    def twice(x: Any) -> Any:
        return ops.concatenate(x, x, axis=axis) if isinstance(x, Tensor) else np.concatenate((x, x), axis)

    assert_adjoint(twice, x, seed)
