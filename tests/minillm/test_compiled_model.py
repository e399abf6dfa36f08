"""Training under the backend numba: the gradients and the curve of NumPy's, and the same bits on every run."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from autograd import Stream, jit, use_backend, use_stream
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


def gradient(backend: str, n_threads: int = 1, n_backwards: int = 1, **changes: object) -> Array:
    """Of n times the loss on one batch, at weights that are not the initial ones, after one that was zeroed."""
    config = GPTConfig(**{**vars(CONFIG), **changes})
    ids, targets = np.random.default_rng(1).integers(config.vocab_size, size=(2, 3, 13))
    with use_backend(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)
        model = GPT(config)
        model.flat.data += 0.1 * np.random.default_rng(2).standard_normal(model.flat.data.size).astype(np.float32)
        model.loss(ids, targets).backward()
        model.zero_grad()
        with use_stream(Stream(seed=3)):  # the masks of dropout
            for _ in range(n_backwards):
                model.loss(ids, targets).backward()
    return model.flat.grad


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False},
        {"bias": False},
        {"dropout": 0.2},
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


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_kernels_add_to_the_gradients_that_are_there(tie_embeddings: bool) -> None:
    once, thrice = (gradient("numba", n_backwards=n, tie_embeddings=tie_embeddings) for n in (1, 3))
    assert np.linalg.norm(thrice - 3 * once) < 1e-6 * np.linalg.norm(thrice)


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


IN_PYTHON = """
import numpy as np
from autograd import Stream, jit, use_backend, use_stream
from minillm import GPT, GPTConfig
from minillm.generate import generate
assert not jit.ENABLED
ids = np.arange(20)[None] % 7
for dropout in (0.0, 0.2):
    config = GPTConfig(vocab_size=7, context_length=20, n_layer=1, n_head=2, d_model=4, dropout=dropout)
    grads, tokens = [], []
    for backend in ("numpy", "numba"):
        with use_backend(backend), use_stream(Stream(0)):
            model = GPT(config, seed=3)
            model.flat.data *= 10
            model.loss(ids, ids).backward()
            grads.append(model.flat.grad)
            tokens.append(list(generate(model, [1, 2], 6, temperature=0)))
    assert np.linalg.norm(grads[1] - grads[0]) < 1e-5 * np.linalg.norm(grads[0])
    assert tokens[0] == tokens[1]
"""


def test_gradients_and_tokens_are_numpys_when_kernels_run_as_python() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_PYTHON], env={**os.environ, "AUTOGRAD_JIT": "0"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
