"""A block as one kernel, for one new token of each row, computes what its parts do; and when it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_same

from autograd import Tensor, compose, no_grad, observe, use_backend
from minillm import GPT, GPTConfig
from minillm.generate import generate
from minillm.kv_cache import KVCache
from minillm.layers import token_step

pytest.importorskip("numba")
from autograd.backends import numba as numba_backend

SMALL = {"vocab_size": 11, "context_length": 7, "n_layer": 2, "n_head": 2, "d_model": 8}


@pytest.fixture(params=[1, 2, 3])
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Parts that the work is cut into; they run on as many threads as there are."""
    monkeypatch.setattr(numba_backend, "_threads", request.param)
    n: int = request.param
    return n


def arguments(B: int, H: int, D: int, F: int, T_max: int, bias: bool, seed: int = 0) -> list[Any]:
    rng, C = np.random.default_rng(seed), H * D

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    def vector(n: int) -> np.ndarray | None:
        return draw(n) if bias else None

    norms = [(1 + draw(C), vector(C)) for _ in range(2)]
    qkv, proj, fc, narrow = ((draw(out, n) / n**0.5, vector(out)) for out, n in ((3 * C, C), (C, C), (F, C), (C, F)))
    cache = [draw(B, H, T_max, D), draw(B, H, T_max, D)]
    return [draw(B, 1, C), *cache, *norms[0], *qkv, *proj, *norms[1], *fc, *narrow]


def on_copies(step: Any, **attributes: Any) -> Any:
    """The step as a function that returns the cache too, and writes to a copy of it."""

    def run(x: np.ndarray, keys: np.ndarray, values: np.ndarray, *parameters: np.ndarray) -> Any:
        keys, values = keys.copy(), values.copy()
        return step(x, keys, values, *parameters, **attributes), keys, values

    return run


@pytest.mark.parametrize("bias", [True, False])
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 20), st.integers(1, 5), st.data())
def test_the_kernel_computes_what_the_parts_do(bias, B, H, D, F, T_max, data):
    attributes = {"length": data.draw(st.integers(0, T_max - 1)), "n_head": H, "eps": 1e-5}
    same = [on_copies(f, **attributes) for f in (token_step.block_cached_numba, token_step.block_cached)]
    assert_same(*same, arguments(B, H, D, F, T_max, bias))


def test_any_number_of_threads_gives_the_same(n_threads):
    attributes = {"length": 3, "n_head": 4, "eps": 1e-5}
    same = [on_copies(f, **attributes) for f in (token_step.block_cached_numba, token_step.block_cached)]
    assert_same(*same, arguments(2, 4, 8, 50, 6, True))


def test_arguments_are_left_alone():
    given = arguments(1, 2, 4, 16, 5, True)
    before = [a.copy() for a in given]
    token_step.block_cached_numba(*given, length=2, n_head=2, eps=1e-5)
    for i, (a, b) in enumerate(zip(given, before, strict=True)):
        if i in (1, 2):  # keys, values: the new position only
            a, b = np.delete(a, 2, axis=2), np.delete(b, 2, axis=2)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cast", [np.float64, np.asfortranarray])
def test_other_dtypes_and_layouts_go_to_the_reference(cast):
    given = [cast(a) for a in arguments(2, 2, 4, 16, 5, True)]
    attributes = {"length": 2, "n_head": 2, "eps": 1e-5}
    expected = on_copies(token_step.block_cached, **attributes)(*given)[0]
    actual = on_copies(token_step.cached_block.on("numba"), **attributes)(*given)[0]
    np.testing.assert_array_equal(actual, expected)


def test_when_it_runs():
    def runs(B: int = 1, T: int = 1, activation: str = "gelu_tanh", dtype: Any = np.float32) -> bool:
        return token_step.one_kernel(np.zeros((B, T), int), Tensor(np.ones((3, 3), dtype)), activation)

    assert not runs()
    with use_backend("numba"):
        assert runs()
        assert runs(B=token_step.FEW_ROWS)
        assert not runs(B=token_step.FEW_ROWS + 1)
        assert not runs(T=2)
        assert not runs(activation="relu")
        assert not runs(dtype=np.float64)
        with observe(lambda *_: None):
            assert not runs()
        with compose():
            assert not runs()


@pytest.mark.parametrize("when", ["prompt", "token"])
def test_padding_is_left_to_the_parts(when):
    model = GPT(GPTConfig(**SMALL), seed=1)
    ids = np.random.default_rng(0).integers(0, 11, (2, 6))
    real = np.ones((2, 5), bool)
    real[0, 4 if when == "token" else 0] = False
    results = []
    for backend in ("numpy", "numba"):
        with use_backend(backend), no_grad():
            cache = KVCache(model.config, 2, like=model.flat.data)
            model(ids[:, :4], mask=real[:, :4], cache=cache)
            model(ids[:, 4:5], mask=real[:, 4:] if when == "token" else None, cache=cache)
            results.append(model(ids[:, 5:], cache=cache)[0].data)
    np.testing.assert_allclose(results[1], results[0], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("overrides", [{}, {"bias": False}, {"tie_embeddings": False}, {"activation": "relu"}])
def test_a_model_gives_the_logits_of_numpys_path(overrides, monkeypatch):
    model = GPT(GPTConfig(**{**SMALL, **overrides}), seed=1)
    model.flat.data += 0.3 * np.random.default_rng(1).standard_normal(model.flat.data.shape, np.float32)
    ids = np.random.default_rng(0).integers(0, 11, (2, 6))
    steps = []
    kernel = token_step.cached_block.twins["numba"]

    def counting(*args: Any, **attributes: Any) -> Any:
        steps.append(1)
        return kernel(*args, **attributes)

    monkeypatch.setitem(token_step.cached_block.twins, "numba", counting)
    results = []
    for backend in ("numpy", "numba"):
        with use_backend(backend), no_grad():
            cache = KVCache(model.config, 2, like=model.flat.data)
            model(ids[:, :3], cache=cache)
            results.append([model(ids[:, t : t + 1], cache=cache)[0].data for t in range(3, 6)])
    assert len(steps) == (0 if overrides.get("activation") else 3 * 2)  # tokens * layers
    np.testing.assert_allclose(results[1], results[0], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("preset", ["nano", "shakespeare-char", "shakespeare-char-large"])
def test_greedy_text_is_that_of_numpys_path(preset):
    model = GPT(GPTConfig.preset(preset), seed=2)
    model.flat.data *= 4  # else blocks add so little that one token repeats for ever
    texts = []
    for backend in ("numpy", "numba"):
        with use_backend(backend):
            texts.append(list(generate(model, np.arange(5), 11, temperature=0)))
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 2
