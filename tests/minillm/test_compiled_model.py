"""Training under the backend numba: the gradients and the curve of NumPy's, and the same bits on every run."""

from __future__ import annotations

import numpy as np
import pytest

from autograd import jit, use_backend
from autograd.backends import Array
from autograd.backends import numba as numba_backend
from minillm import GPT, GPTConfig
from minillm.optim import AdamW, clip_scale, global_norm

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not jit.ENABLED, reason="AUTOGRAD_JIT=0: training in Python loops takes minutes")

CONFIG = GPTConfig(vocab_size=65, context_length=16, n_layer=3, n_head=2, d_model=48)
STEPS = 30


def train(backend: str, n_threads: int = 2) -> tuple[list[float], Array]:
    """The loss at each step, learning a text by heart, and the weights after the last."""
    rng = np.random.default_rng(0)
    text = rng.integers(65, size=300)
    losses = []
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)
        model = GPT(CONFIG)
        optimizer = AdamW(model, lr=3e-3)
        for _ in range(STEPS):
            starts = rng.integers(300 - 16, size=4)
            windows = text[starts[:, None] + np.arange(17)]  # (B, T + 1)
            optimizer.zero_grad()
            loss = model.loss(windows[:, :-1], windows[:, 1:])
            loss.backward()
            optimizer.step(clip_scale(float(global_norm(optimizer.grads())), 1.0))
            losses.append(loss.item())
    return losses, model.flat.data


def gradient(backend: str, n_threads: int = 1, **changes: object) -> Array:
    """Of the loss on one batch, at weights that are not the initial ones."""
    config = GPTConfig(**{**vars(CONFIG), **changes})
    ids, targets = np.random.default_rng(1).integers(config.vocab_size, size=(2, 3, 13))
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)
        model = GPT(config)
        model.flat.data += 0.1 * np.random.default_rng(2).standard_normal(model.flat.data.size).astype(np.float32)
        model.loss(ids, targets).backward()
    return model.flat.grad


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False},
        {"bias": False},
        {"activation": "relu"},
        {"activation": "gelu"},
        {"d_model": 15, "n_head": 5, "d_ff": 7, "vocab_size": 13},
    ],
    ids=str,
)
def test_gradients_are_those_of_numpy(changes: dict[str, object], n_threads: int) -> None:
    expected = gradient("numpy", **changes)
    error = gradient("numba", n_threads, **changes) - expected
    assert np.linalg.norm(error) < 1e-5 * np.linalg.norm(expected)


def test_the_curve_lies_on_numpys() -> None:
    expected, _ = train("numpy")
    losses, _ = train("numba")
    assert expected[-1] < expected[0] - 0.5
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_two_runs_give_the_same_bits(n_threads: int) -> None:
    losses, weights = train("numba", n_threads)
    again, same = train("numba", n_threads)
    assert losses == again
    np.testing.assert_array_equal(weights, same)
