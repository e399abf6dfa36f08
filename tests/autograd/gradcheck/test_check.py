"""gradcheck: what it takes, what it finds, and what it leaves as it was."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest

from autograd import Stream, Tensor, ops, use_stream
from autograd.gradcheck import GradcheckError, gradcheck
from autograd.ops.elementwise import multiply_backward, multiply_forward, tanh_backward, tanh_forward
from autograd.random import current_stream
from minillm import GPT, GPTConfig
from minillm.layers import CausalSelfAttention, FeedForward
from minillm.layers.attention import attention
from minillm.layers.layernorm import layernorm
from minillm.layers.linear import linear
from minillm.module import Module, Parameter

CONFIG = GPTConfig(vocab_size=11, context_length=5, n_layer=2, n_head=2, d_model=8, dropout=0.1)


def normal(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def small_model(**overrides: Any) -> tuple[GPT, Any, Any]:
    model = GPT(GPTConfig(**{**CONFIG.__dict__, **overrides}))
    rng = np.random.default_rng(1)
    model.flat.data += 0.2 * rng.standard_normal(model.flat.data.shape).astype(model.flat.data.dtype)
    return model, *rng.integers(0, 11, (2, 2, 5))


# --- what it takes ----------------------------------------------------------------------------------------------------


def test_an_op_is_held_to_three_oracles() -> None:
    report = gradcheck(layernorm, normal((2, 3, 4), (4,), (4,)), {"eps": 0.1})
    assert [(row.name, row.checked, row.kinks) for row in report.rows] == [
        ("x", 24, 0),
        ("weight", 4, 0),
        ("bias", 4, 0),
    ]
    assert all(set(row.errors) == {"differences", "complex step", "composition"} for row in report.rows)
    assert report.worst("complex step") < 1e-14
    assert report.worst("differences") < 1e-9
    assert report.without == {}
    assert report.laws == {"linear in dy": None}


def test_a_pair_of_plain_functions_needs_nothing_of_the_engine() -> None:
    report = gradcheck((multiply_forward, multiply_backward), normal((2, 1, 3), (4, 1)))
    assert report.target == "multiply"
    assert report.without == {"composition": "no composition is known"}


def test_a_module_is_checked_in_its_input_and_all_parameters() -> None:
    layer = CausalSelfAttention(
        4, 2, bias=True, dropout=0.3, proj_std=0.5, rng=np.random.default_rng(0), dtype="float32"
    )
    report = gradcheck(layer, normal((2, 3, 4)))
    names = [name for name, _ in layer.named_parameters()]
    assert [row.name for row in report.rows] == ["x", *names]
    assert report.worst() < 1e-9
    assert report.without == {}


@pytest.mark.parametrize("overrides", [{}, {"tie_embeddings": False, "bias": False}])
def test_a_whole_model_is_checked_along_random_directions(overrides: dict[str, Any]) -> None:
    model, ids, targets = small_model(**overrides)
    report = gradcheck(model, [ids, targets], {"mask": np.ones(ids.shape, bool)}, directions=2)
    assert [row.name for row in report.rows] == [name for name, _ in model.named_parameters()]
    assert {row.checked for row in report.rows} == {2}
    assert report.without == {}


def test_a_function_of_tensors_and_parameters_that_it_reaches() -> None:
    w = Tensor(normal((3, 2))[0], requires_grad=True)
    report = gradcheck(lambda x: (x @ w).tanh(), normal((2, 3)), parameters={"w": w})
    assert [row.name for row in report.rows] == ["x", "w"]
    report = gradcheck(lambda x: x * x, normal((3,)), composed=lambda x: x**2)
    assert set(report.rows[0].errors) == {"differences", "complex step", "composition"}


def test_integers_and_constants_get_no_gradient() -> None:
    x, weights = normal((2, 3), (2,))
    ids = np.array([2, 0])

    def weighted(x: Tensor, ids: Any, weights: Any) -> Tensor:
        return x[np.arange(2), ids] * Tensor(weights)

    assert [row.name for row in gradcheck(weighted, [x, ids, weights], constants=["weights"]).rows] == ["x"]


def test_large_inputs_are_checked_along_directions() -> None:
    report = gradcheck(linear, normal((5, 40), (30, 40), (30,)))
    assert [row.checked for row in report.rows] == [200, 16, 30]  # 1200 weights, 16 random directions


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", [(0, 0), (1, 2)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_wrong_element_is_named(element: tuple[int, int], dtype: str) -> None:
    def backward(dy: Any, y: Any) -> Any:
        (dx,) = tanh_backward(dy, y)
        dx[element] *= 1.001
        return (dx,)

    with pytest.raises(GradcheckError, match="wrong in 1 of 6 places") as caught:
        gradcheck((tanh_forward, backward), normal((2, 3)), dtype=dtype)
    assert f"worst at x{list(element)}" in str(caught.value)
    assert "ratio 1.001" in str(caught.value)
    assert caught.value.report is not None
    assert caught.value.report.rows[0].failure


def test_directions_find_a_wrong_element_too() -> None:
    def backward(dy: Any, y: Any) -> Any:
        (dx,) = tanh_backward(dy, y)
        dx[3, 17] += 1e-3
        return (dx,)

    with pytest.raises(GradcheckError, match="wrong in 16 of 16 places"):
        gradcheck((tanh_forward, backward), normal((10, 40)))


def test_the_reproducer_fails_in_the_same_way() -> None:
    x, weight = normal((2, 3), (4, 3))
    op_backward = linear.backward.reference

    def wrong(dy: Any, *saved: Any) -> Any:
        dx, dweight, dbias = op_backward(dy, *saved)
        return dx, -dweight, dbias

    linear.backward.reference = wrong
    try:
        with pytest.raises(GradcheckError) as first:
            gradcheck(linear, [x, weight], seed=5)
        assert first.value.report is not None
        assert first.value.report.reproducer is not None
        with pytest.raises(GradcheckError) as again:
            exec(first.value.report.reproducer, {})
    finally:
        linear.backward.reference = op_backward
    assert again.value.report is not None
    assert again.value.report.failures == first.value.report.failures
    assert "sign" in str(again.value)


def test_the_op_at_fault_is_named_in_a_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention.backward.reference

    def wrong(dy: Any, *saved: Any) -> Any:
        dqkv, _ = right(dy, *saved)
        dqkv[..., 8:16] *= 2  # the K third
        return dqkv, None

    monkeypatch.setattr(attention.backward, "reference", wrong)
    model, ids, targets = small_model()
    with pytest.raises(GradcheckError) as caught:
        gradcheck(model, [ids, targets], directions=1)
    report = caught.value.report
    assert report is not None
    assert report.at_fault is not None
    assert [fault.target for fault in report.at_fault] == ["attention"]
    assert "factor" in report.at_fault[0].failures[0]
    assert "[:, :, 8:16]" in report.at_fault[0].failures[0]
    assert not [row.name for row in report.rows if row.failure and "blocks.1.mlp" in row.name]


def test_a_wrong_joint_between_right_ops_is_said_to_be_that() -> None:
    class Detached(Module):
        def __init__(self) -> None:
            self.weight = Parameter(normal((3,))[0], "vector")

        def __call__(self, x: Tensor) -> Tensor:
            return x * self.weight + x.detach() * 2

    with pytest.raises(GradcheckError, match="Each of its ops is right alone"):
        gradcheck(Detached(), normal((2, 3)))


def test_a_missing_sum_inside_a_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = linear.backward.reference

    def wrong(dy: Any, *saved: Any) -> Any:
        dx, dweight, _ = right(dy, *saved)
        return dx, dweight, dy.sum(0)

    monkeypatch.setattr(linear.backward, "reference", wrong)
    layer = FeedForward(3, 5, activation="gelu", bias=True, proj_std=1.0, rng=np.random.default_rng(0), dtype="float64")
    with pytest.raises(GradcheckError, match=r"missing sum over axis 0"):
        gradcheck(layer, normal((2, 4, 3)))


# --- what it leaves alone ---------------------------------------------------------------------------------------------


def test_a_model_is_as_it_was_bit_for_bit() -> None:
    model, ids, targets = small_model()
    model(ids, targets)[1].backward()
    before = model.flat.data.copy(), model.flat.grad.copy()
    gradcheck(model, [ids, targets], directions=1)
    with pytest.raises(GradcheckError):
        gradcheck(lambda ids: model(ids)[0].detach(), [ids], parameters=dict(model.named_parameters()), directions=1)
    for then, now in zip(before, (model.flat.data, model.flat.grad), strict=True):
        np.testing.assert_array_equal(then, now)
    for p in model.parameters():
        assert np.shares_memory(p.data, model.flat.data)
        assert np.shares_memory(p.grad, model.flat.grad)
        assert p.dtype == "float32"
    model.ln_f.weight.data[0] += 1  # still writable


def test_random_numbers_are_frozen_and_put_back() -> None:
    def noisy(x: Tensor) -> Tensor:
        keep = np.random.random(x.shape) < 0.5  # noqa: NPY002  # as a user's layer may draw
        drawn = random.random() + current_stream().next_key()[1]
        return x * Tensor(keep * 2.0) * drawn

    stream = Stream(seed=9)
    with use_stream(stream):
        before = np.random.get_state()[1].copy(), random.getstate(), copy.copy(stream)  # noqa: NPY002
        gradcheck(noisy, [np.arange(1.0, 7.0)])
        np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert random.getstate() == before[1]
        assert stream == before[2]


def test_inputs_are_left_as_they_were_and_may_be_read_only() -> None:
    x = normal((2, 3))[0]
    x.flags.writeable = False
    gradcheck(ops.tanh, [x])
    y = np.zeros((2, 3), np.float32)
    gradcheck(ops.exp, [y])
    assert y.flags.writeable
    assert not y.any()


def test_it_says_what_was_compared() -> None:
    text = str(gradcheck(ops.tanh, normal((2, 3))))
    assert text.startswith("tanh: gradients are right (float64, seed 0, ")
    assert "x (2, 3): 6 compared; largest error by differences " in text
    assert "law linear in dy: holds" in text


@pytest.mark.parametrize("seed", range(3))
def test_seeds_give_other_upstream_gradients(seed: int) -> None:
    seen: list[Any] = []

    def backward(dy: Any, y: Any) -> Any:
        seen.append(dy)
        return tanh_backward(dy, y)

    gradcheck((tanh_forward, backward), normal((5,)), seed=seed)
    others: list[Any] = []
    seen, mine = others, seen
    gradcheck((tanh_forward, backward), normal((5,)), seed=seed + 1)
    assert not {dy.tobytes() for dy in mine if dy.std() > 0} & {dy.tobytes() for dy in others if dy.std() > 0}
