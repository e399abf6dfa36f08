"""The numeric oracles against derivatives known in closed form, near kinks and on steep slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd.gradcheck import oracles

ONE = np.ones(1)


def line(f: Callable[[Any], Any], x: float) -> oracles.Line:
    def along(t: Any) -> Any:
        with np.errstate(all="ignore"):  # a step may leave the domain
            return np.array([f(x + t)])

    return along


# f, derivative, range of x
SMOOTH = {
    "exp": (np.exp, np.exp, (-5, 5)),
    "sin 10x": (lambda x: np.sin(10 * x), lambda x: 10 * np.cos(10 * x), (-3, 3)),
    "1/x": (lambda x: 1 / x, lambda x: -1 / x**2, (0.05, 3)),
    "log": (np.log, lambda x: 1 / x, (0.01, 100)),
    "step of width 1e-3": (lambda x: np.tanh(1e3 * x), lambda x: 1e3 / np.cosh(1e3 * x) ** 2, (-2e-3, 2e-3)),
    "1e6 + x**2": (lambda x: 1e6 + x**2, lambda x: 2 * x, (1, 2)),
}


@pytest.mark.parametrize("name", SMOOTH)
@given(at=st.floats(0, 1))
def test_differences_are_as_good_as_they_say(name: str, at: float) -> None:
    f, derivative, (low, high) = SMOOTH[name]
    x = low + at * (high - low)
    slope = oracles.differences(line(f, x), ONE)
    assert not slope.kink
    assert abs(slope.value - derivative(x)) <= 4 * slope.error + 1e-15 * abs(derivative(x))
    assert slope.error <= 1e-6 * max(abs(derivative(x)), 1e-2)  # and that is good


@pytest.mark.parametrize("name", SMOOTH)
@given(at=st.floats(0, 1))
def test_complex_step_is_exact_to_rounding(name: str, at: float) -> None:
    f, derivative, (low, high) = SMOOTH[name]
    x = low + at * (high - low)
    slope = oracles.complex_step(line(f, x), ONE)
    assert slope is not None
    assert slope.value == pytest.approx(derivative(x), rel=2e-12)


def test_complex_step_says_where_it_cannot_be_asked() -> None:
    assert oracles.complex_step(line(math.erf, 0.3), ONE) is None
    assert oracles.complex_step(line(abs, 0.3), ONE) is None


KINKS = {
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
    "kink of a smooth curve": lambda x: np.exp(x) + 0.1 * np.maximum(x, 0),
    "jump": lambda x: np.where(x >= 0, 1.0 + x, x),
    "edge of the domain": np.sqrt,
    "as good as a jump": lambda x: np.tanh(1e10 * x),
}


@pytest.mark.parametrize("name", KINKS)
@given(distance=st.sampled_from([0.0, 1e-12, 1e-9, -1e-9]))
def test_a_kink_is_seen(name: str, distance: float) -> None:
    assert oracles.search(line(KINKS[name], distance), ONE).kink


@given(st.floats(1e-5, 1), st.sampled_from([-1.0, 1.0]))
def test_a_kink_nearby_is_steered_clear_of(distance: float, side: float) -> None:
    slope = oracles.differences(line(KINKS["relu"], side * distance), ONE)
    assert not slope.kink
    assert slope.value == pytest.approx(float(side > 0), abs=4 * slope.error + 1e-9)


@pytest.mark.parametrize("f", [np.sin, lambda x: x**2, lambda x: x**3, lambda x: 0 * x, lambda x: 1e4 + 1e-3 * x])
def test_a_smooth_function_has_no_kink_where_its_slope_or_bend_is_zero(f: Callable[[Any], Any]) -> None:
    assert not oracles.search(line(f, 0.0), ONE).kink


def test_one_kink_among_many_smooth_outputs_is_seen() -> None:
    def f(t: Any) -> Any:
        y = 50 * np.exp(np.full(100, t))
        y[7] = np.maximum(t, 0)
        return y

    assert oracles.search(f, np.ones(100)).kink


def test_steps_far_too_large_do_not_cancel() -> None:
    """Two outputs that jump, but for a slope that only the smallest steps see: their sum hardly changes."""
    slope = oracles.differences(lambda t: np.tanh(1e4 * t) * np.array([1, -0.999]), np.ones(2))
    assert slope.value == pytest.approx(10, abs=4 * slope.error)
    assert slope.error < 0.1


def test_large_outputs_that_do_not_depend_on_x_cost_no_digits() -> None:
    slope = oracles.differences(lambda t: np.array([1e12, np.sin(0.3 + t)]), np.ones(2))
    assert slope.value == pytest.approx(math.cos(0.3), rel=1e-10)
