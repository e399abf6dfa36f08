"""Dropout: how much it keeps, that masks depend on the key alone, and that the mean stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import Stream, Tensor, use_stream
from autograd.backends import numba
from autograd.random import random_bits
from minillm.layers import Dropout, dropout
from minillm.layers.dropout import (
    dropout_backward,
    dropout_backward_numba,
    dropout_forward,
    dropout_forward_numba,
    keep_mask,
)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_keeps_what_it_says(p: float) -> None:
    n = 100_000
    kept = keep_mask((n,), p, (3, 4), np.zeros(0)).sum()
    assert abs(kept - n * (1 - p)) <= 4 * np.sqrt(n * p * (1 - p))  # four standard deviations


def test_an_element_is_dropped_where_its_random_bits_are_below_the_threshold_and_kept_at_it() -> None:
    key, like = (3, 4), np.zeros(0)
    bits = np.sort(random_bits((1000,), key, like))
    for p in bits[[0, 1, 500, 999]] / 2**32:  # exact in float64
        assert keep_mask((1000,), p, key, like).sum() == 1000 - np.searchsorted(bits, p * 2**32)


def test_kept_elements_are_scaled_so_that_the_mean_stays() -> None:
    y, _ = dropout_forward(np.full((100_000,), 3.0), p=0.25, key=(1, 0))
    assert set(np.unique(y)) == {0.0, 4.0}
    assert abs(y.mean() - 3) < 0.03


def test_neighbouring_keys_draw_unrelated_masks() -> None:
    masks = [keep_mask((100_000,), 0.5, key, np.zeros(0)) for key in ((0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32))]
    correlations = np.corrcoef(masks) - np.eye(len(masks))
    assert np.abs(correlations).max() < 4 / np.sqrt(100_000)


@given(data=st.data())
def test_kernels_drop_what_the_reference_drops_to_the_bit(data: st.DataObject) -> None:
    """Forward and backward, for tiles that end within a block of four words, and threads that begin within one."""
    pytest.importorskip("numba")
    n, n_threads, tile = (data.draw(st.integers(least, most)) for least, most in ((0, 40), (1, 3), (1, 9)))
    p = data.draw(st.sampled_from([0.0, 0.2, 0.5, 1 - 2**-32]), "p")
    key = data.draw(st.tuples(*2 * [st.integers(0, 2**64 - 1)]), "key")
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba, "_threads", n_threads)
        patch.setattr(dropout, "TILE", tile)
        np.testing.assert_array_equal(dropout_forward_numba(x, p=p, key=key)[0], dropout_forward(x, p=p, key=key)[0])
        np.testing.assert_array_equal(dropout_backward_numba(x, p, key)[0], dropout_backward(x, p, key)[0])


def test_draws_while_training_only() -> None:
    layer, x = Dropout(0.5), Tensor(np.ones(64))
    with use_stream(Stream(seed=1)) as _:
        first, second = layer(x).data, layer(x).data
        layer.eval()
        assert layer(x) is x
    assert not np.array_equal(first, second)
    layer.train()
    with use_stream(Stream(seed=1)):
        np.testing.assert_array_equal(layer(x).data, first)
