"""The numeric check of one node: it passes what is right, finds what is wrong, and keeps the numbers of the pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, Case

from autograd import Op, Tensor, checkpoint, compose, no_grad, observe
from autograd.debug import DebugError, break_on
from autograd.debug.node_check import DIRECTIONS, ONE_BY_ONE, record_calls
from autograd.ops import where
from autograd.tape import tape
from minillm import GPT, GPTConfig
from minillm.layers.activations import relu
from minillm.layers.cross_entropy import cross_entropy
from minillm.layers.dropout import dropout
from minillm.layers.linear import linear

pytestmark = pytest.mark.usefixtures("own_ops_are_forgotten")


def numbers(*shape: int, dtype: str = "float32") -> Tensor:
    return Tensor(np.random.default_rng(shape).normal(size=shape).astype(dtype), requires_grad=True)


def double_forward(x):
    return 2 * x, ()


def double_backward_wrong(dy):
    return (2.01 * dy,)


def test_every_node_of_a_float32_gpt_is_right_at_its_own_numbers() -> None:
    model, ids = GPT(GPTConfig.preset("nano", n_layer=1)), np.random.default_rng(0).integers(256, size=(2, 4))
    with record_calls() as calls:
        _, loss = model(ids, ids)
    assert loss is not None
    nodes = tape(loss)
    assert {str(node.op) for node in nodes} == {
        "embedding", "add", "layernorm", "linear", "attention", "gelu_tanh", "cross_entropy"
    }  # fmt: skip
    for node in nodes:
        check = calls.check(node)
        assert check.passed, check.text
        assert check.gradients
        assert max(check.gradients.values()) < 1e-8


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_op_passes_in_each_of_its_cases(case: Case) -> None:
    inputs = case.make("float32")
    wrt = case.wrt(inputs)
    with record_calls() as calls:
        y = Op.registry[case.op](*(Tensor(x, True) if i in wrt else x for i, x in enumerate(inputs)), **case.attributes)
    check = calls.check(y.node)
    assert check.passed, check.text
    assert len(check.gradients) == len(wrt)


def test_the_gradient_of_each_input_is_named_with_how_near_it_is() -> None:
    with record_calls() as calls:
        y = linear(numbers(3, 4), numbers(2, 4), numbers(2))
    check = calls.check(y.node)
    assert list(check.gradients) == ["x", "weight", "bias"]
    assert check.text.startswith("linear: the hand-written gradients are right.")
    assert "dweight" in check.text
    assert str(check) == check.text
    assert check.seconds > 0


def test_a_wrong_gradient_is_found_and_told() -> None:
    with record_calls() as calls:
        y = Op(double_forward, double_backward_wrong)(numbers(2, 3))
    check = calls.check(y.node)
    assert not check.passed
    assert check.gradients["x"] == pytest.approx(0.005, rel=1e-3)
    assert check.text.startswith("double: the hand-written gradients are not right. The gradient of x (2, 3) is wrong")
    assert "ratio 1.005" in check.text


@pytest.mark.parametrize(("n", "places"), [(ONE_BY_ONE, ONE_BY_ONE), (ONE_BY_ONE + 1, DIRECTIONS)])
def test_large_inputs_are_compared_along_a_few_random_directions(n: int, places: int) -> None:
    with record_calls() as calls:
        y = Op(double_forward, double_backward_wrong)(numbers(n))
    check = calls.check(y.node)
    assert not check.passed
    assert f"in {places} of {places} places" in check.text


def test_ids_masks_and_weights_that_get_no_gradient_pass_as_they_are() -> None:
    logits, targets = numbers(2, 3, 5), np.array([[0, 4, -1], [2, 2, 1]])
    condition = np.array([True, False])
    with record_calls() as calls:
        loss = cross_entropy(logits, targets, np.array([[1, 2, 1], [0, 1, 1]], np.float32))
        either = where(condition, numbers(2), 0.5)
    assert list(calls.check(loss.node).gradients) == ["logits"]
    assert list(calls.check(either.node).gradients) == ["a"]
    np.testing.assert_array_equal(calls.of(loss.node).inputs[1], targets)


def test_dropout_is_checked_with_the_mask_it_drew() -> None:
    with record_calls() as calls:
        y = dropout(numbers(40), p=0.5, key=(3, 1))
    assert calls.of(y.node).attributes == {"p": 0.5, "key": (3, 1)}
    assert calls.check(y.node).passed


def test_numbers_written_later_do_not_change_what_is_checked() -> None:
    x = numbers(4)
    kept = x.data.copy()
    with record_calls() as calls:
        y = x + 1.0
    x.data[:] = np.nan
    (recorded, one) = calls.of(y.node).inputs
    np.testing.assert_array_equal(recorded, kept)
    assert one == 1.0
    assert not recorded.flags.writeable
    assert calls.check(y.node).passed


def test_numbers_that_are_not_finite_are_told_and_nothing_is_said_of_gradients() -> None:
    x = Tensor(np.array([-1.0, 1.0]), requires_grad=True)
    with record_calls() as calls, np.errstate(invalid="ignore"):
        y = x.log()
    check = calls.check(y.node)
    assert (check.passed, check.gradients) == (False, {})
    assert check.text.startswith("log could not be checked at these numbers: ")
    assert "not finite" in check.text


@pytest.mark.parametrize(
    ("x", "gradients", "text"),
    [
        ([0.0, 0.0], [], "relu: nothing could be compared, since it has no derivative at any of these places."),
        ([0.0, 1.0], ["x"], "; 1 without a derivative left out."),
    ],
)
def test_places_without_a_derivative_are_told(x: list[float], gradients: list[str], text: str) -> None:
    with record_calls() as calls:
        y = relu(Tensor(np.array(x), requires_grad=True))
    check = calls.check(y.node)
    assert check.passed
    assert list(check.gradients) == gradients
    assert check.text.endswith(text)


def test_calls_have_what_the_op_returned() -> None:
    x = numbers(3)
    with record_calls() as calls:
        y = x * x
    np.testing.assert_array_equal(calls.of(y.node).y, x.data * x.data)
    assert calls.of(y.node).op is Op.registry["multiply"]


def test_another_observer_goes_on_being_called() -> None:
    seen: list[str] = []

    def outer(op: Op, inputs: Any, attributes: Any, y: Tensor) -> None:
        seen.append(op.name)

    with observe(outer), record_calls() as first, record_calls() as second:
        y = numbers(2).exp()
    assert seen == ["exp"]
    assert first.of(y.node).op is second.of(y.node).op


def test_a_check_is_not_seen_by_whoever_observes_composes_or_waits_for_a_stop() -> None:
    seen: list[Any] = []
    with record_calls() as calls:
        y = linear(numbers(3, 4), numbers(2, 4))
    with break_on(when=lambda step: True, call=seen.append), observe(lambda *call: seen.append(call)), compose():
        assert calls.check(y.node).passed
        assert seen == []
        numbers(2).exp()
    assert len(seen) == 1


def test_a_node_that_was_not_recorded_is_refused() -> None:
    x = numbers(2)
    before = x * 2.0
    with record_calls() as calls:
        with no_grad():
            x.exp()
        again = checkpoint(lambda t: t * t, x)
    with pytest.raises(DebugError, match=r"multiply.* was not recorded by these calls: run its forward inside"):
        calls.check(before.node)
    with pytest.raises(DebugError, match=r"checkpoint.* was recorded by no op.*choose a node of an op"):
        calls.check(again.node)
