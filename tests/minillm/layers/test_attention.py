"""Attention against a plain loop, and the facts that a mask must bring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.layers.attention import attention_backward, attention_forward


def by_loops(qkv: Any, mask: Any, n_head: int) -> Any:
    """Causal attention, one query at a time, over the allowed keys only: no infinity anywhere."""
    B, T, C3 = qkv.shape
    C, D = C3 // 3, C3 // 3 // n_head
    y = np.zeros((B, T, C))
    for b, h, t in np.ndindex(B, n_head, T):
        columns = slice(h * D, (h + 1) * D)
        q, k, v = (qkv[b, :, i * C : (i + 1) * C][:, columns] for i in range(3))  # each (T, D)
        keys = [s for s in range(t + 1) if (mask[b, s] if mask.ndim == 2 else mask[b, t, s])]
        weights = [math.exp(q[t] @ k[s] / math.sqrt(D)) for s in keys]
        for s, weight in zip(keys, weights, strict=True):
            y[b, t, columns] += weight / sum(weights) * v[s]
    return y


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, Any, int]:
    B, T, H, D = (draw(st.integers(1, n)) for n in (3, 6, 3, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(B, T), (B, T, T)]))
    return rng.standard_normal((B, T, 3 * H * D)), rng.random(shape) < 0.7, H


@given(call=calls())
def test_equals_a_loop_over_allowed_keys(call: tuple[Any, Any, int]) -> None:
    qkv, mask, n_head = call
    y, _ = attention_forward(qkv, mask, n_head=n_head)
    np.testing.assert_allclose(y, by_loops(qkv, mask, n_head), rtol=1e-12, atol=1e-14)


@given(call=calls(), data=st.data())
def test_later_positions_change_nothing_and_get_no_gradient(call: tuple[Any, Any, int], data: st.DataObject) -> None:
    qkv, mask, n_head = call
    t = data.draw(st.integers(0, qkv.shape[1] - 1))
    y, saved = attention_forward(qkv, mask, n_head=n_head)
    other = qkv.copy()
    other[:, t + 1 :] = 1e3
    np.testing.assert_array_equal(attention_forward(other, mask, n_head=n_head)[0][:, : t + 1], y[:, : t + 1])
    dy = np.ones_like(y)
    dy[:, t + 1 :] = 0
    dqkv, _ = attention_backward(dy, *saved)
    assert not dqkv[:, t + 1 :].any()


def test_a_row_with_every_key_masked_gives_zeros_not_nan() -> None:
    """Warnings are errors here, so none of this may divide by zero or subtract infinities on the way."""
    qkv = np.random.default_rng(0).standard_normal((2, 4, 12))
    mask = np.array([[False] * 4, [False, False, True, True]])
    y, saved = attention_forward(qkv, mask, n_head=2)
    dqkv, _ = attention_backward(np.ones_like(y), *saved)
    for masked in (y[0], y[1, :2], dqkv[0], dqkv[1, :2]):
        assert not masked.any()
    assert y[1, 2:].all()
    assert np.isfinite(dqkv).all()


def test_what_a_masked_key_holds_does_not_leak() -> None:
    qkv = np.random.default_rng(0).standard_normal((1, 5, 6))
    mask = np.array([[True, False, True, False, True]])
    y, saved = attention_forward(qkv, mask, n_head=1)
    dqkv, _ = attention_backward(np.ones_like(y), *saved)
    other = qkv.copy()
    other[:, [1, 3], 2:] = 1e6  # keys and values
    np.testing.assert_array_equal(attention_forward(other, mask, n_head=1)[0], y)
    assert not dqkv[:, [1, 3], 2:].any()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_scores_of_any_size_overflow_nowhere(size: float) -> None:
    qkv = size * np.random.default_rng(0).standard_normal((1, 4, 6))
    y, saved = attention_forward(qkv, n_head=1)
    assert np.isfinite(y).all()
    assert np.isfinite(attention_backward(np.ones_like(y), *saved)[0]).all()
