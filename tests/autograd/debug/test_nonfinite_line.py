"""The line inside an op's function that made a number that is not finite: each statement is true, or none is made.

What a statement says is evaluated again by Python itself, which is stopped at the line while the function runs.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case
from nonfinite_ops import Function, backward_of, found_in, leaf, line_with, own_op, softmax_forward, told

from autograd import Op, Tensor, ops, use_backend
from autograd.debug import NonFinite, NonFiniteError, debug
from autograd.debug.nonfinite_origin import Inside
from minillm import GPT, GPTConfig
from minillm.layers.activations import gelu_tanh, gelu_tanh_backward
from minillm.layers.attention import attention, attention_probs
from minillm.layers.cross_entropy import cross_entropy, cross_entropy_forward
from minillm.layers.layernorm import layernorm, layernorm_backward, layernorm_forward
from minillm.layers.linear import linear, linear_forward

pytestmark = pytest.mark.usefixtures("own_ops_are_forgotten")


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
    run = functools.partial(case.run, copy.deepcopy(inputs))
    if found.sentence.startswith("the backward of "):
        _, saved = run()
        run = functools.partial(op.backward.reference, dy, *saved)
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


def test_the_overflow_in_a_naive_softmax_is_named_and_not_the_nan_it_becomes() -> None:
    for inf in (True, False):
        found = found_in(backward_of(own_op(softmax_forward), leaf([[1, 1000, 2]])), inf=inf)
        inside = told(found)
        file, number = inside.line
        assert inside.line == line_with(softmax_forward, "np.exp")
        assert (inside.code, inside.index, inside.value) == ("e = np.exp(x)", (0, 1), np.inf)
        line = f"  inside softmax_forward at {file}:{number}: e = np.exp(x) gave inf at [0, 1], "
        assert f"\n{line}the first of 1 among 3 numbers\n" in str(found)


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
