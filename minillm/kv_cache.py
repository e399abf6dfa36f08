"""The key-value cache: keys and values of every position a model has seen, so that a new token runs through it alone.

    cache = KVCache(model.config, batch_size=1, like=model.flat.data)
    with no_grad():
        logits, _ = model(prompt, cache=cache)  # (B, T, V), the whole prompt in one go
        logits, _ = model(token, cache=cache)   # (B, 1, V), the next position

It works because a position's keys and values depend on no later position. Shazeer 2019, arXiv:1911.02150, section 2.4.
"""

from __future__ import annotations

import numpy as np

from autograd.backends import Array
from minillm.config import GPTConfig
from minillm.errors import UserError
from minillm.layers.attention import LayerCache


class KVCache:
    """Room for `context_length` positions of each row of a batch, taken once and written in place.

    It takes 2 * n_layer * batch_size * d_model * context_length numbers of the model's dtype, and a byte for each
    position of each row. A model writes to it and moves `length` on; set `length` back to forget the last positions.

    Args:
        config: of the model that will use it.
        batch_size: number of rows.
        like: an array of that model's, such as `model.flat.data`: the cache has its dtype and lives where it does.
    """

    def __init__(self, config: GPTConfig, batch_size: int, *, like: Array) -> None:
        shape = (config.n_layer, batch_size, config.n_head, config.context_length, config.head_dim)
        self.keys = np.empty_like(like, shape=shape)  # (L, B, H, T_max, D)
        self.values = np.empty_like(like, shape=shape)  # (L, B, H, T_max, D)
        self.length = 0  # positions held
        self._real = np.ones_like(like, bool, shape=(batch_size, config.context_length))  # False for padding
        self.padded = False  # whether any position is padding

    def layer(self, i: int) -> LayerCache:
        """What layer i reads and writes."""
        return LayerCache(self.keys[i], self.values[i], self.length)

    def mask(self, new: Array | None, T: int) -> Array | None:
        """Note which of the next T positions are padding, and return the same for all positions up to them.

        Args:
            new: booleans (B, T), False for padding, or None where none of them is.

        Returns:
            booleans (B, length + T), or None where no position is padding.
        """
        self.padded = self.padded or new is not None
        if not self.padded:
            return None
        end = self.length + T
        self._real[:, self.length : end] = True if new is None else new
        return self._real[:, :end]

    def check(self, config: GPTConfig, ids: Array, mask: Array | None) -> None:
        """Raise UserError where a model of `config` cannot run `ids` (B, T) with this cache."""
        L, B, H, T_max, D = self.keys.shape
        if (L, H, T_max, D) != (config.n_layer, config.n_head, config.context_length, config.head_dim):
            raise UserError(
                f"the KV cache was made for a model of {L} layers with {H} heads of {D} and a context of {T_max}: "
                "make one with this model's configuration"
            )
        if ids.shape[0] != B:
            raise UserError(
                f"the KV cache holds {B} rows and ids have {ids.shape[0]}: give it the rows that it began with, "
                "or make a cache for the new batch"
            )
        if self.length + ids.shape[1] > T_max:
            raise UserError(
                f"the KV cache holds {self.length} positions and {ids.shape[1]} more are longer than the model's "
                f"context of {T_max}: run the last {T_max} tokens without a cache, or with a new one"
            )
        if mask is not None and mask.ndim != 2:
            raise UserError(f"mask has shape {mask.shape}: with a KV cache give {ids.shape}, False for padding")
