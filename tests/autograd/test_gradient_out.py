"""Backwards that write a gradient where it belongs: `gradient_out`, against gradients that are returned and added."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import Op, Tensor, checkpoint
from autograd.backward_pass import gradient_out

NAME = "scaled_in_place"


@pytest.fixture(scope="module")
def asked() -> list[tuple[Any, int]]:
    """What the backward was handed, newest last."""
    return []


@pytest.fixture(scope="module")
def scaled(asked: list[tuple[Any, int]]) -> Iterator[Op]:
    """y = x * weight, whose backward asks where dweight is to go, as compiled ones do."""

    def scaled_in_place_forward(x: Any, weight: Any) -> Any:
        return x * weight, (x, weight)

    def scaled_in_place_backward(dy: Any, x: Any, weight: Any) -> Any:
        dweight, beta = gradient_out(weight)
        asked.append((dweight, beta))
        dweight[...] = dy * x + (dweight if beta else 0)
        return dy * weight, dweight

    yield Op(scaled_in_place_forward, scaled_in_place_backward)
    del Op.registry[NAME]  # else another test would look for its cases


def floats(*values: float, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def test_the_first_gradient_is_written_and_the_next_is_added(scaled: Op, asked: list[tuple[Any, int]]) -> None:
    x, weight = floats(2, 3), floats(5, 7)
    scaled(x, weight).backward(np.array([1, 10]))
    assert asked[-1][1] == 0
    assert asked[-1][0] is weight.grad
    np.testing.assert_array_equal(weight.grad, [2, 30])
    scaled(x, weight).backward(np.array([1, 10]))
    assert asked[-1][1] == 1
    assert asked[-1][0] is weight.grad
    np.testing.assert_array_equal(weight.grad, [4, 60])
    np.testing.assert_array_equal(x.grad, [10, 140])


@given(n_uses=st.integers(1, 5), n_sums=st.integers(0, 3), n_backwards=st.integers(1, 3))
def test_it_mixes_with_gradients_that_are_added(scaled: Op, n_uses: int, n_sums: int, n_backwards: int) -> None:
    x, weight = floats(2, 3), floats(5, 7)
    y = x * 0
    for i in range(max(n_uses, n_sums)):
        y = y + scaled(x, weight) if i < n_uses else y
        y = y + x * weight if i < n_sums else y
    for _ in range(n_backwards):
        y.backward(np.ones(2), retain_graph=True)
    total = (n_uses + n_sums) * n_backwards
    np.testing.assert_array_equal(weight.grad, total * x.data)
    np.testing.assert_array_equal(x.grad, total * weight.data)


def test_an_array_that_two_inputs_are_of_is_not_handed_out(scaled: Op, asked: list[tuple[Any, int]]) -> None:
    both = floats(2, 3)
    scaled(both, both).backward(np.ones(2))
    assert asked[-1][0] is not both.grad
    np.testing.assert_array_equal(both.grad, [4, 6])
    a, b = Tensor(both.data, requires_grad=True), Tensor(both.data, requires_grad=True)
    scaled(a, b).backward(np.ones(2))
    np.testing.assert_array_equal(a.grad, [2, 3])
    np.testing.assert_array_equal(b.grad, [2, 3])


def test_an_input_that_is_no_leaf_gets_an_array_of_its_own(scaled: Op, asked: list[tuple[Any, int]]) -> None:
    x, weight = floats(2, 3), floats(5, 7)
    scaled(x, weight * 2).backward(np.ones(2))
    assert asked[-1][1] == 0
    np.testing.assert_array_equal(weight.grad, [4, 6])


@pytest.mark.parametrize("grad", [np.ones(2), np.ones(4, np.float32)[::2]], ids=["float64", "every second"])
def test_a_gradient_that_kernels_cannot_write_to_is_added_to(
    scaled: Op, asked: list[tuple[Any, int]], grad: Any
) -> None:
    weight = floats(5, 7)
    weight.grad = grad
    scaled(floats(2, 3), weight).backward(np.ones(2))
    assert asked[-1][0] is not grad
    assert weight.grad is grad
    np.testing.assert_array_equal(grad, [3, 4])


def test_outside_of_backward_no_leaf_is_touched(scaled: Op) -> None:
    x, weight = floats(2, 3), floats(5, 7)
    y = scaled(x, weight)
    assert y.node is not None
    assert y.node.saved is not None
    _, dweight = y.node.backward(np.ones(2, np.float32), *y.node.saved)
    np.testing.assert_array_equal(dweight, [2, 3])
    assert weight.grad is None


def test_nor_after_a_backward_that_raised(scaled: Op) -> None:
    weight, other = floats(5, 7), floats(1, 1)
    y = scaled(floats(2, 3), weight)
    assert y.node is not None
    backward = y.node.backward

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    y.node.backward = interrupted
    with pytest.raises(KeyboardInterrupt):
        y.backward(np.ones(2))
    backward(np.ones(2, np.float32), *y.node.saved or ())
    assert weight.grad is None
    scaled(floats(2, 3), other).backward(np.ones(2))
    np.testing.assert_array_equal(other.grad, [2, 3])


def test_within_a_checkpoint_leaves_get_theirs_and_the_outer_pass_goes_on(scaled: Op) -> None:
    x, weight, after = floats(2, 3), floats(5, 7), floats(1, 1)
    inner = checkpoint(lambda x: scaled(x, weight), scaled(x, weight))
    scaled(inner, after).backward(np.ones(2))
    np.testing.assert_array_equal(weight.grad, 2 * x.data * weight.data)
    np.testing.assert_array_equal(x.grad, weight.data**2)
    np.testing.assert_array_equal(after.grad, x.data * weight.data**2)
