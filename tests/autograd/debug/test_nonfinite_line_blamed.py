"""Which line is blamed, in functions as people write them, and with infinities that are there on purpose."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from nonfinite_ops import Function, found_in, leaf, line_with, own_op, told

from autograd.debug import debug

pytestmark = pytest.mark.usefixtures("own_ops_are_forgotten")


# --------------------------------------------------------------------------------------- infinities put on purpose
def masked_forward(x: Any, allowed: Any) -> Any:
    scores = np.where(allowed, x, -np.inf)
    shifted = scores - scores.max(-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(-1, keepdims=True)
    return e / total, ()


def test_a_mask_is_not_blamed_but_the_line_that_makes_nan_of_it() -> None:
    op, allowed = own_op(masked_forward), np.array([[True, False], [False, False]])
    with debug():
        op(leaf([[1, 2]]), allowed[:1])
    inside = told(found_in(lambda: op(leaf(np.ones((2, 2))), allowed)))
    assert inside.line == line_with(masked_forward, "shifted = ")
    assert (inside.index, inside.count) == ((1, 0), 2)
    assert np.isnan(inside.value)


def test_masked_rows_that_are_collected_in_a_list_are_not_blamed() -> None:
    def forward(x: Any) -> Any:
        rows = []
        for row in x:
            rows.append(np.where(row > 0, row, -np.inf))
        scores = np.stack(rows)
        shifted = scores - scores.max(-1, keepdims=True)
        return np.exp(shifted), ()

    inside = told(found_in(lambda: own_op(forward)(leaf([[1, 2], [-1, -2]]))))
    assert (inside.code.partition(" ")[0], inside.index) == ("shifted", (1, 0))


def test_an_overflow_beside_a_mask_is_blamed_and_not_the_mask() -> None:
    def forward(x: Any, allowed: Any) -> Any:
        scores = np.where(allowed, x, -np.inf)
        scores = scores * 1e200
        probs = np.exp(scores)
        return probs / probs.sum(-1, keepdims=True), ()

    inside = told(found_in(lambda: own_op(forward)(leaf([[1e200, 1, 2]]), np.array([True, False, True]))))
    assert inside.line == line_with(forward, "1e200")
    assert (inside.index, inside.count) == ((0, 0), 1)


def test_an_infinity_that_does_no_harm_is_not_blamed_for_what_comes_later() -> None:
    def forward(x: Any) -> Any:
        s = 1 / (1 + np.exp(-x))  # e^800 is infinite, and s is 0
        rest = s - s
        return s / rest, ()

    inside = told(found_in(lambda: own_op(forward)(leaf([-800, 2]))))
    assert (inside.line, inside.code) == (line_with(forward, "s / rest"), "return s / rest, ()")


def test_what_infinities_of_a_mask_give_by_themselves_is_not_explained() -> None:
    def twice(x: Any) -> Any:
        bound = np.where(x > 0, x, np.inf)
        return bound * 2, ()

    def summed(x: Any) -> Any:
        bound = np.where(x > 0, x, np.inf)
        return np.cumsum(bound)[2:], ()

    def with_a_nan_that_is_dropped(x: Any) -> Any:
        bound = np.where(x > 0, x, np.inf)
        dropped = bound - bound
        return np.where(x == 7, dropped, bound), ()

    for forward in (twice, summed, with_a_nan_that_is_dropped):
        assert found_in(lambda f=forward: own_op(f)(leaf([1, -1, 1]))).inside is None


def test_numbers_too_large_for_the_array_they_are_stored_in_are_named() -> None:
    def forward(x: Any) -> Any:
        y = np.zeros_like(x, np.float32)
        y[:1] = x[:1] * 1e100
        return y - y, ()

    inside = told(found_in(lambda: own_op(forward)(leaf([1, 2]))))
    assert (inside.code, inside.expression) == ("y[:1] = x[:1] * 1e100",) * 2
    assert (inside.value, inside.shape) == (np.inf, (1,))
    assert [(operand.name, operand.value) for operand in inside.operands] == [("x[:1] * 1e100", 1e100)]


def test_numbers_made_in_place_or_in_one_of_several_arrays_are_not_explained_by_what_comes_of_them() -> None:
    def in_place(x: Any) -> Any:
        y = np.zeros_like(x, np.float32)
        np.copyto(y, x * 1e100, casting="same_kind")
        return y - y, ()

    def of_several(x: Any) -> Any:
        y, _ = np.divmod(x, x * 0)
        return y - y, ()

    for forward in (in_place, of_several):
        assert found_in(lambda f=forward: own_op(f)(leaf([1, 2]))).inside is None


def test_infinities_that_an_expression_takes_from_where_they_cannot_be_seen_are_not_blamed_on_it() -> None:
    table = (np.array([np.inf, 1.0]), np.array([1.0, 1.0]))

    def of_a_generator(x: Any) -> Any:
        total = sum((part for part in table), 0.0)
        return np.cumsum(total * 2), ()

    def of_nested_lists(x: Any) -> Any:
        most = np.max([[1.0, np.inf], [2.0, 3.0]], axis=0, initial=0)
        return np.cumsum(most * 2), ()

    def of_a_dict(x: Any) -> Any:
        bounds = {"upper": np.inf}
        return np.cumsum(x * 0 + bounds.get("upper", 0.0)), ()

    def taken_twice(x: Any) -> Any:
        parts = [x, np.where(x > 0, np.inf, x)]
        y = parts.pop() * parts.pop()
        return np.cumsum(y), ()

    for forward in (of_a_generator, of_nested_lists, of_a_dict, taken_twice):
        assert found_in(lambda f=forward: own_op(f)(leaf([1, 1]))).inside is None


# ------------------------------------------------------------------------------------- functions as people write them
def test_of_a_wrapped_function_nothing_is_said() -> None:
    def scaled(f: Function) -> Function:
        @functools.wraps(f)
        def scaled_forward(x: Any) -> Any:
            e, saved = f(x * 1e300)
            return e, saved

        return scaled_forward

    @scaled
    def forward(x: Any) -> Any:
        e = x * x
        return e + 1, ()

    assert found_in(lambda: own_op(forward)(leaf([1e200, 1e-300]))).inside is None


def test_lines_of_functions_that_stand_in_the_function_are_found() -> None:
    def forward(x: Any) -> Any:
        def grown(a: Any, *factors: float) -> Any:
            return np.multiply(*(a, factors[0])) * factors[1]

        return grown(x, *(1e200, 1e200)), ()

    inside = told(found_in(lambda: own_op(forward)(leaf([1, 1]))))
    assert inside.code == "return np.multiply(*(a, factors[0])) * factors[1]"
    assert [(o.name, o.value) for o in inside.operands] == [
        ("np.multiply(*(a, factors[0]))", 1e200),
        ("factors[1]", 1e200),
    ]


def test_complex_numbers_are_not_shown_as_real_ones() -> None:
    def forward(x: Any) -> Any:
        turned = np.multiply(1e308j, x * 1j)
        return np.abs(turned * 10), ()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found_in(lambda: own_op(forward)(leaf([1, 1]))).inside is None


def test_arguments_may_have_any_names() -> None:
    def scaled(*, x: Any, site: Any, f: Any, self: Any) -> Any:
        return x * site * f * self

    def forward(x: Any) -> Any:
        return scaled(x=x, site=2.0, f=1e200, self=1e200), ()

    assert told(found_in(lambda: own_op(forward)(leaf([1, 1])))).expression == "x * site * f * self"


def test_of_a_long_list_the_first_numbers_are_shown() -> None:
    def forward(x: Any) -> Any:
        numbers = [float(number) for number in x]
        return x * sum(numbers, 1.0), ()

    inside = told(found_in(lambda: own_op(forward)(leaf([1e307] * 100))))
    assert inside.expression == "sum(numbers, 1.0)"
    assert [operand.name for operand in inside.operands] == [f"numbers[{i}]" for i in range(8)]


def test_what_the_function_calls_that_is_no_array_is_no_operand() -> None:
    def forward(x: Any) -> Any:
        half = x.astype(np.float16)
        return np.asarray(half, np.float64) * 2, ()

    (operand,) = told(found_in(lambda: own_op(forward)(leaf([1e6, 1])))).operands
    assert operand.name == "x"


def test_lines_in_loops_branches_helpers_and_closures_are_found() -> None:
    factor = 1e200

    def grown(x: Any, by: float = 1e150) -> Any:
        return x * by

    def forward(x: Any, *, n: int) -> Any:
        y = np.empty_like(x)
        for i in range(n):
            if i == 2:
                y[:, i] = grown(x[:, i]) * factor  # <- the one that overflows
            else:
                y[:, i] = x[:, i]
        return y, ()

    inside = told(found_in(lambda: own_op(forward)(leaf(np.ones((2, 4))), n=4)))
    assert inside.line == line_with(forward, "<- the one")
    assert inside.code == "y[:, i] = grown(x[:, i]) * factor"
    assert [(operand.name, operand.value) for operand in inside.operands] == [
        ("grown(x[:, i])", 1e150),
        ("factor", 1e200),
    ]


def test_items_that_are_changed_in_place_are_named() -> None:
    def forward(x: Any) -> Any:
        y = x.copy()
        y[1:, ::2] *= 1e300
        return y, ()

    inside = told(found_in(lambda: own_op(forward)(leaf([[1e10] * 3] * 2))))
    assert (inside.code, inside.index, inside.shape) == ("y[1:, ::2] *= 1e300", (0, 0), (1, 2))
    (operand,) = inside.operands
    assert (operand.name, operand.value) == ("y[1:, ::2]", 1e10)


def test_what_is_called_for_the_place_to_store_to_is_called_once() -> None:
    def forward(x: Any) -> Any:
        rows = list(x.copy())
        rows.pop()[...] = x[1] * 1
        return np.exp(rows.pop()) + 1, ()

    inside = told(found_in(lambda: own_op(forward)(leaf([[1000, 3], [1, 2]]))))
    assert inside.expression == "np.exp(rows.pop())"
    assert [(operand.name, operand.value) for operand in inside.operands] == [("rows.pop()", 1000)]


def test_operands_that_the_line_overwrites_are_told_as_they_were() -> None:
    def forward(x: Any) -> Any:
        y = x.copy()
        np.exp(y, out=y)
        return y, ()

    (operand,) = told(found_in(lambda: own_op(forward)(leaf([1, 1000])))).operands
    assert (operand.name, operand.value) == ("y", 1000)


def test_what_a_call_writes_to_is_no_operand() -> None:
    def by_name(x: Any) -> Any:
        y = np.full_like(x, np.nan)
        np.exp(x, out=y)
        return y + 1, ()

    def by_place(x: Any) -> Any:
        y = np.full_like(x, np.nan)
        np.exp(x, y)
        return y + 1, ()

    for forward, code in ((by_name, "np.exp(x, out=y)"), (by_place, "np.exp(x, y)")):
        inside = told(found_in(lambda f=forward: own_op(f)(leaf([1, 1000]))))
        assert inside.code == code
        assert [operand.name for operand in inside.operands] == ["x"]
