"""Masked multi-head self-attention. Vaswani et al. 2017, arXiv:1706.03762, section 3.2.

For each head, with T queries and keys of width D:

  scores = q @ k^T / sqrt(D), minus infinity where masked     probs = softmax(scores)     y = probs @ v

  dprobs = dy @ v^T                                            dv = probs^T @ dy
  dscores = probs * (dprobs - sum_keys dprobs*probs)           (zero where masked, since probs is)
  dq = dscores @ k / sqrt(D)                                   dk = dscores^T @ q / sqrt(D)

Backward computes probs again, and draws the mask of dropout again, so that what is saved grows with T, not T^2 (Dao et
al. 2022, arXiv:2205.14135). Since dprobs = dy @ v^T, the sum over keys is sum_width dy*y.
A query whose every key is masked gets probs of zero, so zero output and zero gradients: no NaN, and nothing leaks.
With dropout, y = (probs * keep / (1-p)) @ v.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
from autograd.ops import softmax, where
from minillm.layers.dropout import keep_mask


def split_heads(qkv: Array, n_head: int) -> Any:
    """(B, T, 3C) -> queries, keys and values, each (B, H, T, D), views of qkv."""
    B, T, C3 = qkv.shape
    return qkv.reshape(B, T, 3, n_head, C3 // 3 // n_head).transpose(2, 0, 3, 1, 4)


def masked_softmax(scores: Array, allowed: Array) -> Array:
    """Softmax over the last axis where `allowed` (it broadcasts), 0 elsewhere and in rows with nothing allowed."""
    scores = np.where(allowed, scores, -np.inf)  # (..., T, T)
    shift = scores.real.max(-1, keepdims=True)  # cancels; `.real` keeps it out of a complex step
    scores -= np.where(np.isfinite(shift), shift, 0)
    probs: Array = np.exp(scores, out=scores)  # (..., T, T)
    total = probs.sum(-1, keepdims=True)  # (..., T, 1)
    probs /= np.where(total == 0, 1, total)
    return probs


def attention_probs(q: Array, k: Array, mask: Array | None, causal: bool) -> Array:
    """q, k (B, H, T, D) and mask as in `attention_forward` -> how much each query looks at each key, (B, H, T, T)."""
    T, D = q.shape[-2:]
    scores = (q * (1 / D**0.5)) @ k.swapaxes(-1, -2)  # (B, H, T, T)
    allowed = np.tri(T, dtype=bool, like=q) if causal else np.ones_like(q, bool, shape=(T, T))  # (T, T)
    if mask is not None:
        allowed = allowed & (mask[:, None] if mask.ndim == 3 else mask[:, None, None])  # (B, 1, T, T)
    return masked_softmax(scores, allowed)


def attention_forward(
    qkv: Array,
    mask: Array | None = None,
    *,
    n_head: int,
    causal: bool = True,
    dropout: float = 0.0,
    dropout_key: tuple[int, int] = (0, 0),
) -> tuple[Array, tuple[Any, ...]]:
    """qkv (B, T, 3C): queries, keys and values side by side, each n_head heads of C/n_head -> y (B, T, C).

    Args:
        mask: booleans (B, T), False for keys that nobody may look at (padding); or (B, T, T), True where the query
            of axis 1 may look at the key of axis 2 (packed documents); None: all may be looked at.
        causal: position t sees positions up to t only.
        dropout: probability of dropping an attention weight, with the mask of `dropout_key`.
    """
    q, k, v = split_heads(qkv, n_head)  # each (B, H, T, D)
    B, H, T, D = q.shape
    probs = attention_probs(q, k, mask, causal)  # (B, H, T, T)
    keep = keep_mask(probs.shape, dropout, dropout_key, qkv) if dropout else None  # (B, H, T, T)
    kept = probs if keep is None else probs * keep * (1 / (1 - dropout))  # (B, H, T, T)
    y = (kept @ v).transpose(0, 2, 1, 3).reshape(B, T, H * D)
    return y, (qkv, y, mask, n_head, causal, dropout, dropout_key)


def attention_backward(
    dy: Array,
    qkv: Array,
    y: Array,
    mask: Array | None,
    n_head: int,
    causal: bool,
    dropout: float,
    dropout_key: tuple[int, int],
) -> tuple[Array, None]:
    q, k, v = split_heads(qkv, n_head)  # each (B, H, T, D)
    B, H, T, D = q.shape
    scale = 1 / D**0.5
    dy, y = (a.reshape(B, T, H, D).transpose(0, 2, 1, 3) for a in (dy, y))  # each (B, H, T, D)
    probs = attention_probs(q, k, mask, causal)  # (B, H, T, T)
    keep = keep_mask(probs.shape, dropout, dropout_key, qkv) if dropout else None  # (B, H, T, T)
    kept = probs if keep is None else probs * keep * (1 / (1 - dropout))  # (B, H, T, T)
    dqkv = np.empty_like(dy, shape=(B, T, 3, H, D))
    dq, dk, dv = dqkv.transpose(2, 0, 3, 1, 4)  # each (B, H, T, D), a view of dqkv
    dv[...] = kept.swapaxes(-1, -2) @ dy
    dprobs = dy @ v.swapaxes(-1, -2)  # (B, H, T, T)
    if keep is not None:
        dprobs = dprobs * keep * (1 / (1 - dropout))
    dprobs -= (dy * y).sum(-1, keepdims=True)
    dscores = np.multiply(probs, dprobs, out=dprobs)  # (B, H, T, T)
    dq[...] = dscores @ k * scale
    dk[...] = dscores.swapaxes(-1, -2) @ (q * scale)
    return dqkv.reshape(B, T, 3 * H * D), None


attention = Op(attention_forward, attention_backward)


@attention.composition
def attention_composed(
    qkv: Tensor,
    mask: Array | None = None,
    *,
    n_head: int,
    causal: bool = True,
    dropout: float = 0.0,
    dropout_key: tuple[int, int] = (0, 0),
) -> Tensor:
    B, T, C3 = qkv.shape
    C, D = C3 // 3, C3 // 3 // n_head
    columns = (qkv[..., i * C : (i + 1) * C] for i in range(3))  # each (B, T, C)
    q, k, v = (part.reshape(B, T, n_head, D).transpose(0, 2, 1, 3) for part in columns)  # each (B, H, T, D)
    scores = q @ k.transpose(0, 1, 3, 2) / D**0.5  # (B, H, T, T)
    t = np.arange(T, like=qkv.data)  # (T,)
    allowed = t <= (t[:, None] if causal else T)  # (T, T) [query, key], or (T,) where all queries see the same
    if mask is not None:
        allowed = allowed & (mask[:, None, None] if mask.ndim == 2 else mask[:, None])  # (B, 1, 1 or T, T)
    some = allowed.any(-1, keepdims=True)  # (..., 1): a query with no key at all has no softmax, and gets zeros
    probs = where(some, softmax(where(allowed | ~some, scores, -np.inf)), 0)  # (B, H, T, T)
    if dropout:
        keep = keep_mask(probs.shape, dropout, dropout_key, qkv.data)  # (B, H, T, T)
        kept = where(keep, probs / (1 - dropout), 0)  # (B, H, T, T)
        heads = kept @ v  # (B, H, T, D)
    else:
        heads = probs @ v  # (B, H, T, D)
    return heads.transpose(0, 2, 1, 3).reshape(B, T, C)
