"""Logits with a key-value cache are those without, however the tokens are fed; and what a cache refuses."""

from __future__ import annotations

import numpy as np
import pytest
import standin
from hypothesis import given
from hypothesis import strategies as st
from memory import bytes_left, peak_bytes

from autograd import backends, enable_grad, no_grad, use_backend
from minillm import GPT, GPTConfig, UserError
from minillm.kv_cache import KVCache

T_MAX = 7
BASE = {"vocab_size": 11, "context_length": T_MAX, "n_layer": 2, "n_head": 2, "d_model": 8, "dtype": "float64"}


def make_model(**overrides) -> GPT:
    """A model with every parameter away from zero and one, so that no path through it is closed."""
    model = GPT(GPTConfig(**{**BASE, **overrides}), seed=1)
    rng = np.random.default_rng(1)
    model.flat.data += backends.active().to_device(0.3 * rng.standard_normal(model.flat.data.shape))
    return model


def new_cache(model: GPT, batch_size: int) -> KVCache:
    return KVCache(model.config, batch_size, like=model.flat.data)


def draw_ids(model: GPT, B: int, T: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, (B, T))


splits = st.lists(st.integers(1, T_MAX - 1), unique=True).map(sorted)  # where the tokens are cut into calls


@given(
    st.lists(st.integers(0, T_MAX), min_size=1, max_size=3), splits, st.booleans(), st.booleans(), st.integers(0, 99)
)
def test_logits_equal_those_without_a_cache_in_any_number_of_calls(padding, cuts, tied, bias, seed):
    """Rows with `padding` tokens of left padding; the last may be padding throughout."""
    model = make_model(tie_embeddings=tied, bias=bias)
    ids = draw_ids(model, len(padding), T_MAX, seed)
    real = np.arange(T_MAX) >= np.array(padding)[:, None]  # (B, T)
    cache = new_cache(model, len(padding))
    with no_grad():
        expected = model(ids, mask=real)[0].data
        for start, end in zip([0, *cuts], [*cuts, T_MAX], strict=True):
            new = real[:, start:end]
            logits, _ = model(ids[:, start:end], mask=None if new.all() else new, cache=cache)
            np.testing.assert_allclose(logits.data, expected[:, start:end], rtol=1e-10, atol=1e-12)
            assert cache.length == end


@pytest.mark.parametrize("prompt", range(1, T_MAX + 1))
@pytest.mark.parametrize("B", [1, 3])
def test_each_step_equals_the_whole_context_run_at_that_step(prompt, B):
    model = make_model()
    ids = draw_ids(model, B, T_MAX)
    cache = new_cache(model, B)
    with no_grad():
        logits, _ = model(ids[:, :prompt], cache=cache)
        for end in range(prompt, T_MAX + 1):
            expected = model(ids[:, :end])[0].data
            np.testing.assert_allclose(logits.data[:, -1], expected[:, -1], rtol=1e-10, atol=1e-12)
            if end < T_MAX:
                logits, _ = model(ids[:, end : end + 1], cache=cache)


def test_padding_of_the_prompt_stays_hidden_from_later_tokens():
    model = make_model()
    ids, others = draw_ids(model, 1, 5), draw_ids(model, 1, 5, seed=9)
    real = np.array([[False, False, True, True]])
    results = []
    for padding in (ids, others):
        cache = new_cache(model, 1)
        with no_grad():
            model(np.where(real, ids[:, :4], padding[:, :4]), mask=real, cache=cache)
            results.append(model(ids[:, 4:], cache=cache)[0].data)
    np.testing.assert_array_equal(*results)


def test_setting_the_length_back_forgets_the_last_positions():
    model = make_model()
    ids = draw_ids(model, 2, 5)
    cache = new_cache(model, 2)
    with no_grad():
        model(ids[:, :3], cache=cache)
        model(np.ones((2, 2), int), mask=np.zeros((2, 2), bool), cache=cache)
        cache.length = 3
        logits, _ = model(ids[:, 3:], cache=cache)
        np.testing.assert_allclose(logits.data, model(ids)[0].data[:, 3:], rtol=1e-10, atol=1e-12)


def test_a_call_that_fails_leaves_the_cache_as_it_was():
    model = make_model()
    ids = draw_ids(model, 1, 4)
    cache = new_cache(model, 1)
    with no_grad():
        model(ids[:, :3], cache=cache)
        with pytest.raises(UserError):
            model(np.array([[99]]), cache=cache)
        ln_f, model.ln_f = model.ln_f, None  # so that it fails behind the blocks
        with pytest.raises(TypeError):
            model(ids[:, 3:], cache=cache)
        model.ln_f = ln_f
        logits, _ = model(ids[:, 3:], cache=cache)
        np.testing.assert_allclose(logits.data, model(ids)[0].data[:, 3:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_is_what_the_documentation_says(dtype):
    config = GPTConfig(vocab_size=5, context_length=256, n_layer=3, n_head=2, d_model=128, dtype=dtype)
    model = GPT(config)
    cache, held = bytes_left(lambda: new_cache(model, 2))
    numbers, padding = 2 * 3 * 2 * 128 * 256 * np.dtype(dtype).itemsize, 2 * 256
    assert held == numbers + padding
    with no_grad():
        model(draw_ids(model, 2, 250), cache=cache)
        peak = peak_bytes(lambda: model(draw_ids(model, 2, 1), cache=cache))
    assert cache.keys.dtype == dtype
    assert peak < cache.keys[0].nbytes / 2  # a token copies not even half of one layer's keys


def test_it_runs_on_the_device_and_never_waits(strict_cupy: type[standin.Waits]) -> None:
    results = []
    for name in ("numpy", "cupy"):
        with use_backend(name):
            model = make_model()
            ids, real = draw_ids(model, 2, T_MAX), np.ones((2, 4), bool)
            real[0, :2] = False
            cache = new_cache(model, 2)
            assert backends.name_of(cache.keys) == name
            strict_cupy.count = 0
            with no_grad():
                model(ids[:, :4], mask=real, cache=cache)
                logits = [model(ids[:, t : t + 1], cache=cache)[0] for t in range(4, T_MAX)]
            assert strict_cupy.count == 0
            results.append([row.numpy() for row in logits])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("cached", "ids", "mask", "message"),
    [
        ((2, 3), (1, 1), None, "holds 2 rows and ids have 1: give it the rows that it began with"),
        ((1, 5), (1, 3), None, "holds 5 positions and 3 more are longer than the model's context of 7: run the last 7"),
        ((1, 2), (1, 2), (1, 2, 2), r"mask has shape \(1, 2, 2\): with a KV cache give \(1, 2\)"),
    ],
)
def test_refuses(cached, ids, mask, message):
    model = make_model()
    cache = new_cache(model, cached[0])
    with no_grad():
        model(draw_ids(model, *cached), cache=cache)
        with pytest.raises(UserError, match=message) as error:
            model(draw_ids(model, *ids), mask=None if mask is None else np.ones(mask, bool), cache=cache)
    assert "\n" not in str(error.value)
    assert cache.length == cached[1]


@pytest.mark.parametrize(
    "other", [{"n_layer": 1}, {"n_head": 4}, {"d_model": 4}, {"context_length": 9}], ids=lambda other: next(iter(other))
)
def test_refuses_the_cache_of_another_model(other):
    cache = new_cache(make_model(), 1)
    with no_grad(), pytest.raises(UserError, match="for a model of 2 layers with 2 heads of 4 and a context of 7"):
        make_model(**other)(np.zeros((1, 1), int), cache=cache)


def test_refuses_to_record_and_to_drop():
    model = make_model(dropout=0.1)
    cache = new_cache(model, 1)
    with no_grad():
        with pytest.raises(UserError, match=r"after `eval\(\)` if it has dropout"):
            model(np.zeros((1, 1), int), cache=cache)
        model.eval()
        model(np.zeros((1, 1), int), cache=cache)
        with enable_grad(), pytest.raises(UserError, match=r"call the model under `no_grad\(\)`"):
            model(np.zeros((1, 1), int), cache=cache)
