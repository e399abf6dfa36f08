"""The optimizer's compiled passes against their references: the same to float32's rounding, and on each run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import use_backend
from autograd.backends import Array
from autograd.backends import numba as numba_backend
from minillm import GPT, GPTConfig
from minillm.optim import AdamW, global_norm
from minillm.optim.adamw import update

pytest.importorskip("numba")

EPS = float(np.finfo(np.float32).eps)
THREADS = st.sampled_from([1, 2, 3])


def buffers(n: int, seed: int) -> list[Array]:
    """p, g, m, v (n,), of magnitudes far apart; v is not negative."""
    rng = np.random.default_rng(seed)
    p, g, m, v = rng.standard_normal((4, n)) * 10.0 ** rng.integers(-6, 3, (4, n))
    return [a.astype(np.float32) for a in (p, g, m, abs(v))]


@given(
    n=st.integers(0, 70),
    seed=st.integers(0, 9),
    lr=st.floats(0, 0.1),
    decay=st.floats(0, 0.5),
    step=st.integers(1, 10**5),
    grad_scale=st.floats(1e-3, 1),
    n_threads=THREADS,
)
def test_one_update(n: int, seed: int, lr: float, decay: float, step: int, grad_scale: float, n_threads: int) -> None:
    rates = {"lr": lr, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": decay, "step": step}
    expected, actual, again = (buffers(n, seed) for _ in range(3))
    p, g, m, v = buffers(n, seed)
    update.reference(*expected, **rates, grad_scale=grad_scale)
    for arrays in (actual, again):
        with threads(n_threads):
            update.on("numba")(*arrays, **rates, grad_scale=grad_scale)
    # as large as the terms that are added, which may cancel
    largest = (abs(p) + abs(expected[0] - p), abs(g), abs(m) + abs(g), v + g * g)
    for a, e, same, size in zip(actual, expected, again, largest, strict=True):
        assert a.dtype == np.float32
        assert (abs(a - e) <= 8 * EPS * size).all()
        np.testing.assert_array_equal(a, same)


class threads:
    """A number of threads for a `with` block."""

    def __init__(self, n: int) -> None:
        self.n, self.before = n, numba_backend.threads()

    def __enter__(self) -> None:
        numba_backend._threads = self.n

    def __exit__(self, *_: object) -> None:
        numba_backend._threads = self.before


@given(sizes=st.lists(st.integers(0, 50), max_size=3), seed=st.integers(0, 9), n_threads=THREADS)
def test_the_norm(sizes: list[int], seed: int, n_threads: int) -> None:
    grads = [buffers(n, seed)[1] for n in sizes]
    with use_backend("numba"), threads(n_threads):
        norm = global_norm(grads)
    assert norm.dtype == np.float64
    assert float(norm) == pytest.approx(float(global_norm(grads)), rel=1e-12)


def test_the_norm_survives_what_float32_does_not() -> None:
    with use_backend("numba"):
        assert float(global_norm([np.full(100, 1e30, np.float32)])) == pytest.approx(1e31, rel=1e-6)
        assert np.isnan(global_norm([np.array([1, np.nan], np.float32)]))
        assert global_norm([np.array([1, np.inf], np.float32)]) == np.inf


def test_the_optimizer_runs_the_twin_on_its_backend_and_float64_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("minillm.optim.adamw._update", lambda *_: ran.append("twin"))
    for dtype in ("float32", "float64"):
        model = GPT(GPTConfig(vocab_size=5, context_length=3, n_layer=1, n_head=1, d_model=2, dtype=dtype))
        with use_backend("numba"):
            AdamW(model).step()
        AdamW(model).step()
    assert ran == ["twin", "twin"]  # of float32 on numba, two runs of parameters
