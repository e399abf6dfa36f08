"""The kernels' e^x against NumPy's in float64, in units in the last place (ulps) of float32; the largest of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autograd.backends import Array
from autograd.jit import In1, Out1, jit
from autograd.jit_math import exp, largest, softmax_row

pytest.importorskip("numba")


@jit()
def exp_kernel(x: In1, y: Out1) -> None:
    for i in range(x.shape[0]):
        y[i] = exp(x[i])


@jit()
def largest_kernel(x: In1, y: Out1) -> None:
    y[0] = largest(x)


@jit()
def softmax_kernel(x: In1, y: Out1) -> None:
    for i in range(x.shape[0]):
        y[i] = x[i]
    shift, log_total = softmax_row(y[: x.shape[0]])
    y[x.shape[0]] = shift + log_total


def run(kernel: Callable[[Array, Array], None], x: Array) -> Array:
    y = np.empty_like(x)
    kernel(x, y)
    return y


def ulps(y: Array, exact: Array) -> Array:
    error: Array = np.abs(y - exact) / np.spacing(np.abs(exact).astype("float32"))
    return error


def test_exp_is_right_to_two_ulps_over_its_whole_range() -> None:
    small = np.geomspace(1e-30, 1, 10_001)
    x = np.concatenate([np.linspace(-87.3, 88.37, 100_001), small, -small]).astype("float32")
    assert ulps(run(exp_kernel, x), np.exp(x.astype(float))).max() < 2


def test_exp_beyond_its_range() -> None:
    x = np.array([-np.inf, -1e38, -90, -87.7, 0, 88.4, 100, np.inf], "float32")
    np.testing.assert_array_equal(run(exp_kernel, x), [0, 0, 0, 0, 1, np.inf, np.inf, np.inf])


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # said when kernels run as Python
def test_nan_stays_nan() -> None:
    assert np.isnan(run(exp_kernel, np.array([np.nan], "float32"))).all()


def test_the_largest_whatever_the_signs() -> None:
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(33), -rng.random(5), np.array([-0.0, -1e-40]), np.array([3.0, -np.inf, np.inf])):
        assert run(largest_kernel, x.astype("float32"))[0] == x.astype("float32").max()
    assert np.isnan(run(largest_kernel, np.array([1, np.nan, np.inf], "float32"))[0])


NAN = [np.nan, -np.nan]  # of either sign: what a CPU makes of inf - inf has the sign set


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # said when kernels run as Python
@pytest.mark.parametrize("special", [*NAN, np.inf, -np.inf, 80.0])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_softmax_is_numpys_whatever_is_in_the_row(special: float, n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n + 1).astype("float32")
    x[n // 2] = special
    with np.errstate(invalid="ignore"):
        e = np.exp(x[:n] - x[:n].max())
        expected = [*(e / e.sum()), x[:n].max() + np.log(e.sum())]
    y = np.empty_like(x)
    softmax_kernel(x[:n], y)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)
