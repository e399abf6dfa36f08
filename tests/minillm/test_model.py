"""The whole model: facts that hold whatever its parameters are, and how it begins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import Stream, Tensor, checkpoint, no_grad, use_stream
from minillm import GPT, GPTConfig, UserError

BASE = {"vocab_size": 17, "context_length": 9, "n_layer": 2, "n_head": 2, "d_model": 8, "dtype": "float64"}


def make_model(seed: int = 0, **overrides) -> GPT:
    """A model with every parameter away from zero and one, so that no path through it is closed."""
    model = GPT(GPTConfig(**{**BASE, **overrides}), seed=seed)
    model.flat.data += 0.2 * np.random.default_rng(seed).standard_normal(model.flat.data.shape)
    return model


def batch(model: GPT, B: int, T: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(seed).integers(0, model.config.vocab_size, (2, B, T)))


def loss_and_gradient(model: GPT, ids, targets, **arguments) -> tuple[float, np.ndarray]:
    model.zero_grad()
    _, loss = model(ids, targets, **arguments)
    loss.backward()
    return loss.item(), model.flat.grad.copy()


# --- how it begins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["shakespeare-char", "python-tiny", "nano"])
def test_initial_loss_is_that_of_a_uniform_guess(preset):
    model = GPT(GPTConfig.preset(preset), seed=1)
    ids, targets = batch(model, 8, model.config.context_length)
    _, loss = model(ids, targets)
    assert loss.item() == pytest.approx(math.log(model.config.vocab_size), abs=0.06)


def test_initial_weights_have_the_deviations_of_gpt2():
    config = GPTConfig(vocab_size=500, context_length=200, n_layer=3, n_head=2, d_model=128, tie_embeddings=False)
    for name, p in GPT(config, seed=5).named_parameters():
        if name.endswith("bias"):
            assert (p.data == 0).all(), name
        elif ".ln" in name or name.startswith("ln_f"):
            assert (p.data == 1).all(), name
        else:
            std = 0.02 / math.sqrt(2 * 3) if name.endswith("proj.weight") else 0.02
            four_sigma = 4 / math.sqrt(2 * p.size)  # of the relative error of a deviation estimated from p.size draws
            assert p.data.std() == pytest.approx(std, rel=four_sigma), name
            assert abs(p.data.mean()) < 4 * std / math.sqrt(p.size), name


def test_seed_decides_the_weights():
    a, same, other = (GPT(GPTConfig(**BASE), seed=seed).flat.data for seed in (3, 3, 4))
    np.testing.assert_array_equal(a, same)
    assert not np.isclose(a, other).all()


# --- what depends on what ---------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0, 100))
def test_logits_do_not_depend_on_later_tokens(t, seed):
    model = make_model()
    ids, others = batch(model, 2, 9, seed)
    changed = np.concatenate([ids[:, :t], others[:, t:]], axis=1)
    with no_grad():
        logits, _ = model(ids)
        changed_logits, _ = model(changed)
        prefix_logits, _ = model(ids[:, :t])
    np.testing.assert_array_equal(logits.data[:, :t], changed_logits.data[:, :t])  # bit for bit
    np.testing.assert_allclose(prefix_logits.data, logits.data[:, :t], rtol=1e-9, atol=1e-11)


def test_logits_do_depend_on_earlier_tokens():
    model = make_model()
    ids, _ = batch(model, 1, 9)
    changed = ids.copy()
    changed[0, 0] = (ids[0, 0] + 1) % model.config.vocab_size
    assert np.abs(model(ids)[0].data - model(changed)[0].data).max(axis=(0, 2)).min() > 1e-4  # at every position


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_stands_in_the_padding_changes_nothing(side):
    model = make_model()
    ids, targets = batch(model, 3, 9)
    real = np.arange(9) < np.array([[9], [4], [1]])  # (B, T)
    if side == "left":
        real = real[:, ::-1]
    targets = np.where(real, targets, -1)
    other_ids = np.where(real, ids, (ids + 5) % 17)
    loss, gradient = loss_and_gradient(model, ids, targets, mask=real)
    other_loss, other_gradient = loss_and_gradient(model, other_ids, targets, mask=real)
    assert loss == other_loss
    # bit for bit but in the token embedding, where rows of zeros go to other ids
    np.testing.assert_allclose(gradient, other_gradient, rtol=0, atol=1e-15)
    logits, _ = model(ids, mask=real)
    other_logits, _ = model(other_ids, mask=real)
    np.testing.assert_array_equal(logits.data[real], other_logits.data[real])


def test_right_padding_equals_the_shorter_row():
    model = make_model()
    ids, targets = batch(model, 1, 9)
    real = np.arange(9)[None] < 5
    loss, gradient = loss_and_gradient(model, ids, np.where(real, targets, -1), mask=real)
    short_loss, short_gradient = loss_and_gradient(model, ids[:, :5], targets[:, :5])
    assert loss == pytest.approx(short_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, short_gradient, rtol=1e-9, atol=1e-13)


def test_a_mask_by_query_that_hides_the_same_keys_from_all_equals_a_mask_of_keys():
    model = make_model()
    ids, targets = batch(model, 2, 6)
    real = np.arange(6) < np.array([[6], [4]])  # (B, T)
    loss, gradient = loss_and_gradient(model, ids, targets, mask=real)
    by_query = loss_and_gradient(model, ids, targets, mask=np.repeat(real[:, None], 6, axis=1))
    assert by_query[0] == loss
    np.testing.assert_array_equal(by_query[1], gradient)


@given(st.permutations(range(4)))
def test_rows_of_a_batch_do_not_see_each_other(order):
    model = make_model()
    ids, targets = batch(model, 4, 6)
    loss, gradient = loss_and_gradient(model, ids, targets)
    permuted_loss, permuted_gradient = loss_and_gradient(model, ids[order], targets[order])
    assert loss == pytest.approx(permuted_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, permuted_gradient, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(model(ids)[0].data[order], model(ids[order])[0].data, rtol=1e-10, atol=1e-12)


# --- gradients --------------------------------------------------------------------------------------------------------


def test_gradient_of_the_flat_buffer_predicts_the_change_of_the_loss():
    model = make_model()
    ids, targets = batch(model, 3, 9)
    _, gradient = loss_and_gradient(model, ids, targets)
    direction = np.random.default_rng(0).standard_normal(gradient.shape)
    start, losses = model.flat.data.copy(), []
    for step in (1e-5, -1e-5):
        model.flat.data[...] = start + step * direction
        losses.append(model(ids, targets)[1].item())
    assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradient @ direction, rel=1e-7)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.floats(0, 0.8), st.integers(0, 1000))
def test_micro_batches_give_the_gradient_of_the_full_batch(sizes, left_out, seed):
    """Each scaled by its share n_i/N of the tokens that count; with left_out > 0 those shares are ragged."""
    model = make_model()
    ids, targets = batch(model, sum(sizes), 7, seed)
    targets[np.random.default_rng(seed).random(targets.shape) < left_out] = -1
    loss, gradient = loss_and_gradient(model, ids, targets)
    total = 0.0
    model.zero_grad()
    for rows in np.split(np.arange(len(ids)), np.cumsum(sizes)[:-1]):
        share = (targets[rows] != -1).sum() / max((targets != -1).sum(), 1)
        _, part = model(ids[rows], targets[rows])
        part.backward(share)
        total += share * part.item()
    assert total == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(model.flat.grad, gradient, rtol=1e-9, atol=1e-13)


def test_weights_count_a_target_as_often_as_they_say():
    model = make_model()
    ids, targets = batch(model, 3, 6)
    counts = np.array([1.0, 0.0, 2.0])
    weighted = loss_and_gradient(model, ids, targets, weights=np.repeat(counts[:, None], 6, axis=1))
    repeated = loss_and_gradient(model, ids[[0, 2, 2]], targets[[0, 2, 2]])
    assert weighted[0] == pytest.approx(repeated[0], rel=1e-12)
    np.testing.assert_allclose(weighted[1], repeated[1], rtol=1e-9, atol=1e-13)


def test_no_target_that_counts_gives_zero_loss_and_gradient():
    model = make_model()
    ids, targets = batch(model, 2, 5)
    loss, gradient = loss_and_gradient(model, ids, np.full_like(targets, -1))
    assert loss == 0
    assert (gradient == 0).all()


def test_overfits_one_batch_by_gradient_descent():
    model = GPT(GPTConfig(**BASE), seed=2)
    ids, targets = batch(model, 2, 8)
    for _ in range(300):
        loss, gradient = loss_and_gradient(model, ids, targets)
        model.flat.data -= 0.5 * gradient
    assert loss < 0.1


# --- dropout and recomputation ----------------------------------------------------------------------------------------


def test_dropout_is_a_function_of_the_stream():
    model = make_model(dropout=0.3)
    ids, targets = batch(model, 3, 9)
    results = []
    for seed in (5, 5, 6):
        with use_stream(Stream(seed)):
            results.append(loss_and_gradient(model, ids, targets))
    assert results[0][0] == results[1][0] != results[2][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_dropout_draws_anew_on_each_call_and_not_in_eval():
    model = make_model(dropout=0.3)
    ids, targets = batch(model, 3, 9)
    stream = Stream(5)
    with use_stream(stream):
        assert model(ids, targets)[1].item() != model(ids, targets)[1].item()
        draws = stream.calls
        assert draws == 2 * (1 + 2 * 3)  # embeddings, and attention weights and two residuals in each of two blocks
        model.eval()
        losses = {model(ids, targets)[1].item() for _ in range(2)}
        assert stream.calls == draws
    plain = make_model()
    assert losses == {plain(ids, targets)[1].item()}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointed_blocks_give_the_same_gradients(dropout):
    model = make_model(dropout=dropout)
    ids, targets = batch(model, 3, 9)
    with use_stream(Stream(5)):
        loss, gradient = loss_and_gradient(model, ids, targets)
    model.blocks = [
        lambda x, mask, block=block: checkpoint(lambda x: block(x, mask), x)  # keeps x alone
        for block in model.blocks
    ]
    with use_stream(Stream(5)):
        checkpointed_loss, checkpointed_gradient = loss_and_gradient(model, ids, targets)
    assert checkpointed_loss == loss
    np.testing.assert_array_equal(checkpointed_gradient, gradient)


# --- types, shapes, errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh"])
def test_every_array_has_the_dtype_of_the_configuration(dtype, activation):
    model = GPT(GPTConfig(**{**BASE, "dtype": dtype, "activation": activation, "dropout": 0.1}))
    ids, targets = batch(model, 2, 5)
    mask = np.ones(ids.shape, bool)
    weights = np.ones(ids.shape, dtype)
    logits, loss = model(ids, targets, mask=mask, weights=weights)
    loss.backward()
    assert {logits.dtype, loss.dtype, model.flat.data.dtype, model.flat.grad.dtype} == {np.dtype(dtype)}
    assert logits.shape == (2, 5, 17)
    assert loss.shape == ()


def test_without_targets_there_is_no_loss():
    model = make_model()
    logits, loss = model(batch(model, 2, 5)[0])
    assert loss is None
    assert isinstance(logits, Tensor)


def test_no_grad_records_nothing():
    model = make_model()
    with no_grad():
        _, loss = model(*batch(model, 2, 5))
    assert not loss.requires_grad
    assert loss.node is None


def test_a_parameter_cannot_be_written_between_forward_and_backward():
    """A step between the two would silently give gradients of other weights than the loss was computed with."""
    model = make_model()
    _, loss = model(*batch(model, 2, 5))
    with pytest.raises(ValueError, match="read-only"):
        model.ln_f.weight.data[0] = 5
    loss.backward()
    model.ln_f.weight.data[0] = 5


@pytest.mark.parametrize(
    ("ids", "targets", "message"),
    [
        ([[0, 17]], None, "token id 17 in ids is out of range: the vocabulary has ids 0 to 16"),
        ([[0, -1]], None, "token id -1 in ids is out of range"),
        ([[0, 1]], [[0, 17]], "token id 17 in targets is out of range"),
        ([[0, 1]], [[0, -2]], "token id -2 in targets is out of range"),
        ([[0] * 10], None, "10 tokens are longer than the model's context of 9"),
        ([0, 1], None, r"ids have shape \(2,\): give \(batch, time\)"),
        ([[0, 1]], [[0, 1, 2]], r"targets have shape \(1, 3\) and ids \(1, 2\)"),
        ([[0.0, 1.0]], None, "ids are float64: give integers"),
    ],
)
def test_refuses(ids, targets, message):
    model = make_model()
    with pytest.raises(UserError, match=message):
        model(np.array(ids), None if targets is None else np.array(targets))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3)), "mask is float64: give booleans"),
        (np.ones((2, 3), int), "mask is int64: give booleans"),
        (np.ones((3,), bool), r"mask has shape \(3,\) and ids \(2, 3\): give \(2, 3\), .* or \(2, 3, 3\)"),
        (np.ones((3, 3), bool), r"mask has shape \(3, 3\) and ids \(2, 3\)"),
        (np.ones((2, 1, 3), bool), r"mask has shape \(2, 1, 3\)"),
        (np.ones((1, 3, 3), bool), r"mask has shape \(1, 3, 3\)"),
    ],
)
def test_refuses_a_mask_of_another_shape_or_dtype(mask, message):
    with pytest.raises(UserError, match=message):
        make_model()(np.zeros((2, 3), int), mask=mask)
