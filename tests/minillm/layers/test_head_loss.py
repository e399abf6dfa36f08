"""The head's twins: any shape, number of threads and width of tiles; numbers that are not finite; the model's loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_same

from autograd import use_backend
from autograd.backends import numba as numba_backend
from minillm import GPT, GPTConfig
from minillm.layers.cross_entropy import IGNORE_INDEX, cross_entropy
from minillm.layers.head_loss import head_loss

pytest.importorskip("numba")


@given(
    N=st.integers(1, 9),
    C=st.integers(1, 20),
    V=st.integers(1, 40),
    n_threads=st.integers(1, 4),
    tile=st.integers(1, 9),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape_in_any_number_of_tiles(
    N: int, C: int, V: int, n_threads: int, tile: int, bias: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(N, C), (C,), (C,), (V, C)]
    x, norm_weight, norm_bias, weight = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    targets = rng.integers(-1, V, N).astype(rng.choice(["int64", "int32"]))
    dloss = np.float32(rng.standard_normal())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minillm.layers.head_loss.TILE", tile)
        patch.setattr(numba_backend, "_threads", n_threads)
        forward, backward = head_loss.forward, head_loss.backward
        inputs = [x, norm_weight, norm_bias if bias else None, weight, targets, np.abs(x[:, 0])]
        assert_same(forward.on("numba"), forward.reference, inputs)
        saved = forward.reference(*inputs)[1]
        assert_same(backward.on("numba"), backward.reference, [dloss, *saved])


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # said when kernels run as Python
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_give_what_the_reference_gives(bad: float) -> None:
    logits = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    logits[1, 7] = bad
    targets = np.array([3, 7, 20])
    with np.errstate(all="ignore"):
        expected, (expected_probs, *_) = cross_entropy.forward.reference(logits, targets)
    loss, (probs, *_) = cross_entropy.forward.on("numba")(logits, targets)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)  # NaN for NaN
    np.testing.assert_allclose(probs, expected_probs, rtol=1e-5)
    assert not np.isfinite(loss)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_loss_alone_is_the_loss_beside_the_logits(tied: bool, backend: str) -> None:
    config = GPTConfig(vocab_size=19, context_length=6, n_layer=1, n_head=2, d_model=8, tie_embeddings=tied)
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(19, size=(2, 3, 6))
    mask, weights = np.arange(6) < np.array([[6], [2], [4]]), rng.random((3, 6)).astype(np.float32)
    targets[~mask] = IGNORE_INDEX
    with use_backend(backend):
        model = GPT(config)
        alone = model.loss(ids, targets, mask=mask, weights=weights)
        assert str(alone.node).startswith("<head_loss" if backend == "numba" else "<cross_entropy")
        alone.backward()
        gradient = model.flat.grad.copy()
        model.zero_grad()
        _, loss = model(ids, targets, mask=mask, weights=weights)
        assert loss is not None
        loss.backward()
    assert alone.item() == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, model.flat.grad, rtol=1e-4, atol=1e-7)
