"""Attention of new positions to those in a key-value cache, for inference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autograd.backends import Array
from autograd.kernel import Kernel
from autograd.ops.reduce import softmax_forward
from minillm.layers.attention.reference import masked_softmax, split_heads


class LayerCache(NamedTuple):
    """Keys and values (B, H, T_max, D) of one layer, and how many of the T_max positions are filled."""

    keys: Array
    values: Array
    length: int


def attention_cached(
    qkv: Array, keys: Array, values: Array, mask: Array | None = None, *, length: int, n_head: int
) -> Array:
    """Causal attention of new positions to themselves and to those in a cache, without gradients.

    Args:
        qkv: (B, T, 3C), as in `attention_forward`, of the positions `length` to `length + T`.
        keys, values: (B, H, T_max, D), read up to `length`; those of the new positions are written behind.
        mask: booleans (B, length + T), False for keys that nobody may look at; None: all may be looked at.

    Returns:
        y (B, T, C), what `attention_forward` gives for these positions.
    """
    q, new_keys, new_values = split_heads(qkv, n_head)  # each (B, H, T, D)
    B, H, T, D = q.shape
    end = length + T
    keys[:, :, length:end] = new_keys
    values[:, :, length:end] = new_values
    k, v = keys[:, :, :end], values[:, :, :end]  # each (B, H, end, D)
    scores = (q * (1 / D**0.5)) @ k.swapaxes(-1, -2)  # (B, H, T, end)
    if T == 1 and mask is None:  # the last position sees all
        probs = softmax_forward(scores)[0]  # (B, H, 1, end)
    else:
        allowed = np.tri(T, end, length, dtype=bool, like=qkv)  # (T, end)
        if mask is not None:
            allowed = allowed & mask[:, None, None]  # (B, 1, T, end)
        probs = masked_softmax(scores, allowed)  # (B, H, T, end)
    return (probs @ v).transpose(0, 2, 1, 3).reshape(B, T, H * D)


cached_attention = Kernel(attention_cached)
