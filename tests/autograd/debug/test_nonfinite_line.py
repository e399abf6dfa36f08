"""The line inside an op's function that made a number that is not finite: each statement is true, or none is made.

What a statement says is evaluated again by Python itself, which is stopped at the line while the function runs.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case

from autograd import Op, Stream, Tensor, observe, ops, use_backend, use_stream
from autograd.debug import NonFinite, NonFiniteError, debug, trace
from autograd.debug.nonfinite_origin import Inside
from minillm import GPT, GPTConfig
from minillm.layers.activations import gelu_tanh, gelu_tanh_backward
from minillm.layers.attention import attention, attention_probs
from minillm.layers.cross_entropy import cross_entropy, cross_entropy_forward
from minillm.layers.layernorm import layernorm, layernorm_backward, layernorm_forward
from minillm.layers.linear import linear, linear_forward

ROOT = Path(__file__).parents[3]
Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_ops_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Op, "registry", dict(Op.registry))


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


# ----------------------------------------------------------------------------------------- every statement is true
def stops(at: tuple[str, int], within: str, run: Callable[[], Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Globals and copied locals each time before that line of the function `within` runs."""
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def tracer(frame: Any, event: str, _: Any) -> Any:
        if (frame.f_code.co_filename, frame.f_code.co_name) != (at[0], within):
            return None
        if event == "line" and frame.f_lineno == at[1]:
            seen.append((frame.f_globals, copy.deepcopy(dict(frame.f_locals))))
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        run()
    finally:
        sys.settrace(before)
    yield from seen


def is_true(inside: Inside, variables: dict[str, Any], local: dict[str, Any]) -> bool:
    """Whether the expression gives that number out of finite ones where these are the variables."""

    def value_of(text: str) -> Any:
        return np.asarray(eval(text, variables, copy.deepcopy(local)))

    expression = inside.expression
    if " += " in expression:
        expression = expression.replace(" += ", " + ")
    value = value_of(expression)
    if value.shape != inside.shape or np.isfinite(value[inside.index]):
        return False
    if "@" not in expression and repr(float(value[inside.index])) != repr(inside.value):
        return False  # a product's partial sums may overflow in another order
    for operand in inside.operands:
        x = value_of(operand.name)
        if operand.value is not None:
            assert repr(operand.value) == repr(float(np.broadcast_to(x, value.shape)[inside.index]))
        if not np.isfinite(x if operand.value is None else operand.value).all():
            return False
    return not np.isfinite(inside.value)


def check_statement(found: NonFinite, case: Case, inputs: list[Any], dy: Any) -> None:
    op, inside = Op.registry[case.op], told(found)
    run = lambda: case.run(copy.deepcopy(inputs))  # noqa: E731
    if found.sentence.startswith("the backward of "):
        _, saved = run()
        run = lambda: op.backward.reference(dy, *saved)  # noqa: E731
    assert any(is_true(inside, *at) for at in stops(inside.line, inside.function, run)), str(inside)


SCALES = {"float32": [0, 1e-40, 1e20, -1e30, 1e38], "float64": [0, 1e-300, 1e160, -1e305]}
SCALED = [(case, dtype) for case in CASES for dtype in SCALES]
TOLD = {"attention", "attention_half", "feed_forward_half", "gelu_tanh", "head_loss", "layernorm"}


@np.errstate(all="ignore")
@pytest.mark.parametrize(("case", "dtype"), SCALED, ids=str)
def test_what_is_said_of_a_line_is_true_whatever_overflows(case: Case, dtype: str) -> None:
    n_told = n_made = 0
    for scale in SCALES[dtype]:
        for one in (False, True):
            for upstream in (1, 1e30):
                inputs = case.make(dtype)
                wrt = case.wrt(inputs)
                for i in wrt:
                    if not one:
                        inputs[i] = (inputs[i] * scale).astype(dtype)
                    elif inputs[i].size:
                        inputs[i].flat[-1] = scale
                tensors = [leaf(x, dtype) if i in wrt else x for i, x in enumerate(inputs)]
                dy: Any = None
                try:
                    with debug():
                        y = Op.registry[case.op](*tensors, **case.attributes)
                        if y.requires_grad and y.data.size:
                            dy = np.full_like(y.data, upstream)
                            y.backward(dy)
                except NonFiniteError as error:
                    found = error.origin
                    n_made += 1
                    if found.inside is not None:
                        check_statement(found, case, inputs, dy)
                        n_told += 1
    assert n_told or not n_made or case.op not in TOLD


# ------------------------------------------------------------------------------------------------ the known cases
def test_scores_of_attention_that_overflow_are_named_with_the_line_of_their_product() -> None:
    qkv = leaf(np.random.default_rng(0).uniform(1e20, 2e20, (1, 4, 12)), "float32")
    inside = told(found_in(backward_of(attention, qkv, n_head=2)))
    assert inside.function == "attention_probs"
    assert inside.line == line_with(attention_probs, "scores = ")
    assert inside.code == "scores = (q * (1 / D**0.5)) @ k.swapaxes(-1, -2)"
    assert [operand.name for operand in inside.operands] == ["q * (1 / D**0.5)", "k.swapaxes(-1, -2)"]
    assert inside.shape == (1, 2, 4, 4)
    assert np.isinf(inside.value)


@pytest.mark.parametrize("padded", [False, True])
def test_scores_that_overflow_where_they_are_masked_do_no_harm_and_are_not_named(padded: bool) -> None:
    qkv = np.ones((1, 4, 6), "float32")
    qkv[0, 0, 0:2] = 1e20  # q of the first position, k of the last: key 3 is in query 0's future
    qkv[0, 3, 2:4] = 1e20
    mask = np.array([[True, True, True, False]]) if padded else None
    with debug():
        attention(Tensor(qkv, requires_grad=True), mask, n_head=1).backward(np.ones((1, 4, 2), "float32"))
    qkv[0, 2, 0:2] = qkv[0, 1, 2:4] = 1e20  # query 2 and key 1
    found = found_in(backward_of(attention, Tensor(qkv, requires_grad=True), mask, n_head=1))
    inside = told(found)
    assert found.index == (0, 2, 0)
    assert (inside.code.partition(" ")[0], inside.index) == ("scores", (0, 0, 2, 1))
    assert not inside.is_first  # that is [0, 0, 0, 1]
    assert inside.count == 4
    assert "gave inf at [0, 0, 2, 1], one of 4 among 16 numbers" in str(found)


def test_in_a_gpt_the_line_is_told_below_the_op() -> None:
    model = GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=16), seed=1)
    assert model.blocks[1].attn.qkv.bias is not None
    model.blocks[1].attn.qkv.bias.data[...] = 1e20
    ids = np.random.default_rng(0).integers(0, 11, (2, 8))
    with pytest.raises(NonFiniteError) as raised, debug(model):
        model.loss(ids, ids).backward()
    found, text = raised.value.origin, str(raised.value)
    assert (found.op, found.layer) == ("attention", "blocks.1.attn")
    file, line = line_with(attention_probs, "scores = ")
    assert (
        f"\n  inside attention_probs at {file}:{line}: scores = (q * (1 / D**0.5)) @ k.swapaxes(-1, -2) gave " in text
    )
    assert "\n    k.swapaxes(-1, -2); (2, 2, 8, 8) float32, norm " in text


def test_layernorm_of_large_numbers_is_finite_and_of_the_largest_it_is_the_mean_that_overflows() -> None:
    one, x = np.ones(4, "float32"), np.array([[1, 2, 3, 4]], "float32")
    with debug():
        layernorm(leaf(x * 1e20, "float32"), one, one).sum()
    inside = told(found_in(lambda: layernorm(leaf(x * 8e37, "float32"), one, one).sum()))
    assert inside.line == line_with(layernorm_forward, "mean = ")
    assert (inside.code, inside.index) == ("mean = x.mean(-1, keepdims=True)", (0, 0))
    inside = told(found_in(backward_of(layernorm, leaf(x, "float32"), leaf(x[0] * 1e20, "float32"), None, dy=1e30)))
    assert inside.line == line_with(layernorm_backward, "dxhat = ")
    assert inside.code == "dxhat = dy * weight"


def test_logits_that_are_infinite_came_in_and_those_that_are_too_far_apart_are_named_where_they_are_shifted() -> None:
    logits, targets = np.zeros((2, 3), "float32"), np.array([1, 2])
    logits[0, 1], logits[0, 2] = -3e38, 3e38
    inside = told(found_in(backward_of(cross_entropy, leaf(logits, "float32"), targets)))
    assert inside.line == line_with(cross_entropy_forward, "shifted = ")
    assert (inside.index, inside.value) == ((0, 1), -np.inf)
    values = {operand.name: operand.value for operand in inside.operands}
    assert values == {"x": pytest.approx(-3e38), "x.real.max(-1, keepdims=True)": pytest.approx(3e38)}
    logits[0, 2] = np.inf
    assert found_in(backward_of(cross_entropy, leaf(logits, "float32"), targets)).inside is None


def test_the_square_in_the_backward_of_gelu_is_named_and_not_the_overflows_that_do_no_harm() -> None:
    x = leaf([-1e20, 1, 1e20], "float32")
    found = found_in(backward_of(gelu_tanh, x))
    inside = told(found)
    assert inside.line == line_with(gelu_tanh_backward, "slope = ")
    assert inside.expression == "3 * _CUBIC * x * x"
    assert "slope = _TWICE_SQRT_2_OVER_PI * (1 + 3 * _CUBIC * x * x), whose 3 * _CUBIC * x * x gave inf" in str(found)
    assert {operand.name for operand in inside.operands} == {"3 * _CUBIC * x", "x"}


def test_a_row_that_is_added_in_place_is_named_as_the_statement_stands() -> None:
    x, weight, bias = np.full((2, 1), 3e38), np.ones((3, 1)), np.array([0, 2e38, 0])
    run = backward_of(linear, *(leaf(a, "float32") for a in (x, weight, bias)))
    inside = told(found_in(run))
    assert inside.line == line_with(linear_forward, "y += bias")
    assert (inside.code, inside.expression, inside.index) == ("y += bias", "y += bias", (0, 1))
    assert {operand.name: operand.value for operand in inside.operands} == {
        "y": pytest.approx(3e38),
        "bias": pytest.approx(2e38),
    }


@pytest.mark.parametrize("function", [lambda x: x.log(), lambda x: x / x, lambda x: ops.exp(x + 1000)])
def test_an_op_of_one_expression_has_no_more_to_tell(function: Function) -> None:
    assert found_in(lambda: function(leaf([0, 1])).sum().backward()).inside is None


def test_what_a_backward_divides_by_is_told() -> None:
    inside = told(found_in(lambda: leaf([4, 0]).sqrt().sum().backward()))
    assert (inside.code, inside.expression) == ("return (dy / (2 * y),)", "dy / (2 * y)")
    assert {operand.name: operand.value for operand in inside.operands} == {"dy": 1, "2 * y": 0}


def softmax_forward(x: Any) -> Any:
    e = np.exp(x)  # (..., C)
    total = e.sum(-1, keepdims=True)
    return e / total, (e, total)


def test_the_overflow_in_a_naive_softmax_is_named_and_not_the_nan_it_becomes() -> None:
    for inf in (True, False):
        found = found_in(backward_of(own_op(softmax_forward), leaf([[1, 1000, 2]])), inf=inf)
        inside = told(found)
        assert inside.line == line_with(softmax_forward, "np.exp")
        assert (inside.code, inside.index, inside.value) == ("e = np.exp(x)", (0, 1), np.inf)
        line = f"  inside softmax_forward at {__file__}:{inside.line[1]}: e = np.exp(x) gave inf at [0, 1], "
        assert f"\n{line}the first of 1 among 3 numbers\n" in str(found)


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
        assert found_in(lambda f=forward: own_op(f)(leaf([1, -1, 1]))).inside is None  # type: ignore[misc]


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
        assert found_in(lambda f=forward: own_op(f)(leaf([1, 2]))).inside is None  # type: ignore[misc]


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
        assert found_in(lambda f=forward: own_op(f)(leaf([1, 1]))).inside is None  # type: ignore[misc]


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
        inside = told(found_in(lambda f=forward: own_op(f)(leaf([1, 1000]))))  # type: ignore[misc]
        assert inside.code == code
        assert [operand.name for operand in inside.operands] == ["x"]


# -------------------------------------------------------------------------------------------- where nothing is said
counts = {"calls": 0}
buffer = np.zeros(2)
log: list[str] = []
n_calls = 0


def counting_forward(x: Any) -> Any:
    global n_calls
    n_calls += 1
    e = np.exp(x)
    return e + 1, ()


def keeping_forward(x: Any) -> Any:
    counts["calls"] += 1
    e = np.exp(x)
    return e + 1, ()


def logging_forward(x: Any) -> Any:
    log.append("called")
    e = np.exp(x)
    return e + 1, ()


def remembering_forward(x: Any, kept: dict[str, int] = counts) -> Any:  # what it is about
    kept["calls"] += 1
    e = np.exp(x)
    return e + 1, ()


def adding_forward(x: Any) -> Any:
    np.add(buffer, 1, out=buffer)
    e = np.exp(x)
    return e + 1, ()


def aliasing_forward(x: Any) -> Any:
    kept = log
    kept.append("called")
    e = np.exp(x)
    return e + 1, ()


def viewing_forward(x: Any) -> Any:
    part = buffer[:1]
    part += 1
    e = np.exp(x)
    return e + 1, ()


def appending_forward(x: Any) -> Any:
    list(map(log.append, x[:1]))
    e = np.exp(x)
    return e + 1, ()


def own_list_forward(x: Any) -> Any:
    kept = own_list_forward.log  # type: ignore[attr-defined]
    kept.append("called")
    e = np.exp(x)
    return e + 1, ()


own_list_forward.log = log  # type: ignore[attr-defined]


class Kept:
    log = log


def of_a_class_forward(x: Any) -> Any:
    kept = Kept
    kept.log.append("called")
    e = np.exp(x)
    return e + 1, ()


own_module = sys.modules[__name__]


def of_a_module_forward(x: Any) -> Any:
    own_module.log.append("called")
    e = np.exp(x)
    return e + 1, ()


def note_call(_: Any = None) -> None:
    counts["calls"] += 1


note = functools.partial(note_call)


@contextmanager
def noted() -> Iterator[None]:
    note_call()
    yield


class Noted:
    def __enter__(self) -> None:
        note_call()

    def __exit__(self, *_: object) -> None:
        pass


entered = Noted()


def partial_forward(x: Any) -> Any:
    note()
    e = np.exp(x)
    return e + 1, ()


def entering_forward(x: Any) -> Any:
    with entered:
        e = np.exp(x)
    return e + 1, ()


def managing_forward(x: Any) -> Any:
    with noted():
        e = np.exp(x)
    return e + 1, ()


def noted_number(number: float) -> float:
    note_call()
    return number


every = np.vectorize(noted_number, otypes=[float])


def vectorized_forward(x: Any) -> Any:
    e = np.exp(every(x[:1]))
    return e + 1, ()


def noting_forward(x: Any) -> Any:
    note_call()
    e = np.exp(x)
    return e + 1, ()


def mapping_forward(x: Any) -> Any:
    list(map(note_call, x[:1]))
    e = np.exp(x)
    return e + 1, ()


@pytest.mark.parametrize(
    "forward",
    [
        counting_forward,
        keeping_forward,
        logging_forward,
        adding_forward,
        noting_forward,
        mapping_forward,
        remembering_forward,
        aliasing_forward,
        viewing_forward,
        appending_forward,
        own_list_forward,
        of_a_class_forward,
        of_a_module_forward,
        partial_forward,
        entering_forward,
        managing_forward,
        vectorized_forward,
    ],
)
def test_a_function_that_leaves_traces_runs_once_and_nothing_is_said(forward: Function) -> None:
    before = n_calls + counts["calls"] + len(log) + buffer[0]
    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert n_calls + counts["calls"] + len(log) + buffer[0] == before + 1


def test_what_an_op_is_handed_to_keep_something_in_is_written_once() -> None:
    def forward(x: Any, *, kept: Any) -> Any:
        kept["calls"] += 1
        e = np.exp(x)
        return e + 1, ()

    def of_an_object(x: Any, *, kept: Any) -> Any:
        kept.calls.append(1)
        e = np.exp(x)
        return e + 1, ()

    numbers, thing = {"calls": 0}, SimpleNamespace(calls=[])
    assert found_in(lambda: own_op(forward)(leaf([1000, 1]), kept=numbers)).inside is None
    assert found_in(lambda: own_op(of_an_object)(leaf([1000, 1]), kept=thing)).inside is None
    assert (numbers, thing.calls) == ({"calls": 1}, [1])


def test_what_counts_or_writes_a_file_does_so_once(tmp_path: Path) -> None:
    numbers, name = itertools.count(), str(tmp_path / "x.bin")
    np.zeros(2).tofile(name)

    def forward(x: Any) -> Any:
        next(numbers)
        e = np.exp(x)
        return e + 1, ()

    def mapped(x: Any) -> Any:
        kept = np.memmap(name, "float64", "r+", shape=x.shape)
        kept += 1
        e = np.exp(x)
        return e + 1, ()

    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert next(numbers) == 1
    assert found_in(lambda: own_op(mapped)(leaf([1000, 1]))).inside is None
    assert np.fromfile(name).tolist() == [1, 1]


def seeded(module: Any) -> Any:
    module.seed(0)
    return module


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (lambda: np.random.default_rng(0), "standard_normal"),
        (lambda: random.Random(0), "random"),
        (lambda: Stream(0), "next_key"),
        (lambda: seeded(random), "random"),
        (lambda: seeded(np.random), "random"),
    ],
)
def test_random_numbers_are_drawn_once_and_nothing_is_said(make: Function, method: str) -> None:
    source = make()
    _, second = getattr(source, method)(), getattr(source, method)()
    source = make()

    def forward(x: Any) -> Any:
        draw = getattr(source, method)
        draw()
        e = np.exp(x)
        return e + 1, ()

    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert getattr(source, method)() == second


def test_with_dropout_no_key_is_drawn() -> None:
    qkv, stream = leaf(np.random.default_rng(0).uniform(1e20, 2e20, (1, 4, 12)), "float32"), Stream(3)
    with use_stream(stream):
        key = stream.next_key()
        found = found_in(backward_of(attention, qkv, n_head=2, dropout=0.5, dropout_key=key))
    assert stream.calls == 1
    assert told(found).code.startswith("scores = ")


def test_what_is_printed_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    def forward(x: Any) -> Any:
        print("forward of", x.shape)
        e = np.exp(x)
        return e + 1, ()

    assert told(found_in(lambda: own_op(forward)(leaf([1000, 1])))).code.startswith("e = ")
    assert capsys.readouterr().out == "forward of (2,)\n"


def test_without_source_or_with_another_one_nothing_is_said(tmp_path: Path) -> None:
    source = "import numpy as np\n\ndef typed_forward(x):\n    e = np.exp(x)\n    return e + 1, ()\n"
    file = tmp_path / "own.py"

    def found(name: str) -> NonFinite:
        namespace: dict[str, Any] = {"__name__": "own"}
        file.write_text(source)
        exec(compile(source, name, "exec"), namespace)
        return found_in(lambda: own_op(namespace["typed_forward"])(leaf([1000, 1])))

    assert found("<stdin>").inside is None
    assert told(found(str(file))).line == (str(file), 4)


def test_where_the_file_has_changed_since_nothing_is_said(tmp_path: Path) -> None:
    source = "import numpy as np\n\ndef typed_forward(x):\n    e = np.exp(x * 1)\n    return e + 1, ()\n"
    file, namespace = tmp_path / "own.py", {"__name__": "own"}
    exec(compile(source, str(file), "exec"), namespace)
    for changed in (source.replace("* 1", "* 2"), source.replace("* 1", "+ 1"), source[:20], ""):
        file.write_text(changed)
        exec(compile(source, str(file), "exec"), namespace)  # another function: what was read of one is kept
        forward: Any = namespace["typed_forward"]
        assert found_in(lambda f=forward: own_op(f)(leaf([1000, 1]))).inside is None  # type: ignore[misc]


def test_a_function_that_runs_for_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(x: Any) -> Any:
        y = x
        for _ in range(50):
            y = y * 1.0
        return y * 1e300 * 1e300, ()

    assert told(found_in(lambda: own_op(forward)(leaf([1, 2])))).expression == "y * 1e300 * 1e300"
    monkeypatch.setattr("autograd.debug.nonfinite_line._SECONDS", 0.0)
    assert found_in(lambda: own_op(forward)(leaf([1, 2]))).inside is None


def test_where_time_is_short_the_line_is_told_without_the_search_for_one_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forward(x: Any) -> Any:
        e = np.exp(x)
        return np.cumsum(e[::-1])[:2] + 1, ()  # of the last

    run = backward_of(own_op(forward), leaf([1000] * 8 + [1, 1000]))
    assert told(found_in(run)).index == (9,)
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=itertools.chain([now], itertools.repeat(now + 20)).__next__)
    monkeypatch.setattr("autograd.debug.nonfinite_line.time", clock)
    inside = told(found_in(run))
    assert (inside.code, inside.index, inside.count) == ("e = np.exp(x)", (0,), 9)


# ---------------------------------------------------------------------------------------------- nothing is disturbed
def test_while_no_number_that_is_not_finite_gets_out_nothing_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    for module in ("nonfinite", "nonfinite_forward"):
        monkeypatch.setattr(f"autograd.debug.{module}.inside", refuse)
    x = leaf(np.ones((2, 3)))
    with debug():
        ops.softmax(ops.where(np.array([True, False, True]), x, -np.inf)).sum().backward()
        attention(leaf(np.ones((1, 4, 12))), n_head=2).sum().backward()
        (1 / (1 + ops.exp(x * 1000))).sum()
    with pytest.raises(AssertionError), debug():
        ops.exp(x * 1000)


def test_inputs_saved_arrays_and_the_upstream_gradient_are_not_written() -> None:
    def forward(x: Any) -> Any:
        return x + 0, (x,)

    def backward(dy: Any, x: Any) -> Any:
        dx = dy / x
        dx -= 1
        return (dx * 2,)

    x = leaf([0, 2])
    upstream = np.array([1.0, 3.0])
    inside = told(found_in(lambda: own_op(forward, backward)(x).backward(upstream)))
    assert inside.code == "dx = dy / x"
    np.testing.assert_array_equal(x.data, [0, 2])
    np.testing.assert_array_equal(upstream, [1, 3])


def test_an_input_that_the_function_changes_is_changed_once() -> None:
    def forward(x: Any, y: Any) -> Any:
        y *= 2
        e = np.exp(x)
        return e + y, ()

    y = np.array([3.0, 4.0])
    found_in(lambda: own_op(forward)(leaf([1, 1000]), y))
    np.testing.assert_array_equal(y, [6, 8])


def test_an_input_that_the_function_makes_writeable_is_changed_once() -> None:
    def forward(x: Any, y: Any) -> Any:
        y.flags.writeable = True
        y += 1
        e = np.exp(x)
        return e + 1, ()

    y = np.array([3.0, 4.0])
    found_in(lambda: own_op(forward)(leaf([1, 1000]), y))
    np.testing.assert_array_equal(y, [4, 5])


def test_observers_are_not_called_again() -> None:
    names = []
    with observe(lambda op, *_: names.append(op.name)):
        assert told(found_in(lambda: own_op(softmax_forward)(leaf([[1, 1000]]))))
    assert names == ["softmax"]


def test_a_debugger_that_is_tracing_goes_on_and_does_not_step_in() -> None:
    entered = []

    def tracer(frame: Any, event: str, _: Any) -> Any:
        entered.append((frame.f_code.co_filename, frame.f_code.co_name))
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        found = found_in(lambda: own_op(softmax_forward)(leaf([[1, 1000]])))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert told(found).code.startswith("e = ")
    assert set(entered) >= {(__file__, "softmax_forward")}
    assert [name for file, name in entered if file.startswith("<a function")] == []
    assert entered.count((__file__, "softmax_forward")) > 0


def test_a_trace_around_it_goes_on() -> None:
    qkv = leaf(np.random.default_rng(0).uniform(1e20, 2e20, (1, 4, 12)), "float32")
    with trace() as names:
        found = found_in(lambda: attention(qkv, n_head=2).sum())
        y = attention(leaf(np.ones((1, 4, 12))), n_head=2)
        y.sum().backward()
    assert told(found).code.startswith("scores = ")
    assert "attention" in names


# ------------------------------------------------------------------------------------------------ twins and devices
def test_of_a_fast_twin_the_line_of_the_reference_is_told() -> None:
    with use_backend("numba"):
        found = found_in(backward_of(gelu_tanh, leaf([1, 1e20], "float32")))
    assert told(found).line == line_with(gelu_tanh_backward, "slope = ")


def test_of_arrays_on_a_device_the_line_is_told(strict_cupy: type[standin.Waits]) -> None:
    with use_backend("cupy"):
        x = Tensor(standin.ndarray(np.array([4.0, 0])), requires_grad=True)
        inside = told(found_in(lambda: x.sqrt().backward(standin.ndarray(np.ones(2)))))
    assert inside.expression == "dy / (2 * y)"
