"""The layer: attention between two linear layers."""

from __future__ import annotations

import numpy as np

from autograd import Tensor
from autograd.backends import Array, name_of
from autograd.random import current_stream
from minillm.layers.attention.cached import LayerCache, cached_attention
from minillm.layers.attention.reference import attention
from minillm.layers.linear import Linear
from minillm.module import Dtype, Module


class CausalSelfAttention(Module):
    """One projection to queries, keys and values, attention over earlier positions, one projection back."""

    def __init__(
        self,
        d_model: int,
        n_head: int,
        *,
        bias: bool,
        dropout: float,
        proj_std: float,
        rng: np.random.Generator,
        dtype: Dtype,
    ) -> None:
        self.qkv = Linear(d_model, 3 * d_model, bias=bias, rng=rng, dtype=dtype)
        self.proj = Linear(d_model, d_model, bias=bias, std=proj_std, rng=rng, dtype=dtype)
        self.n_head, self.dropout = n_head, dropout

    def __call__(self, x: Tensor, mask: Array | None = None, cache: LayerCache | None = None) -> Tensor:
        """x (B, T, C) -> (B, T, C); with a cache, x holds the positions that follow those in it."""
        qkv = self.qkv(x)  # (B, T, 3C)
        if cache is not None:
            run = cached_attention.on(name_of(qkv.data))
            y = run(qkv.data, cache.keys, cache.values, mask, length=cache.length, n_head=self.n_head)  # (B, T, C)
            return self.proj(Tensor(y))
        if self.training and self.dropout:
            key = current_stream().next_key()
            return self.proj(attention(qkv, mask, n_head=self.n_head, dropout=self.dropout, dropout_key=key))
        return self.proj(attention(qkv, mask, n_head=self.n_head))
