"""Embedding: one row of a table for each id. Used for tokens and for positions.

y[i] = weight[ids[i]]
dweight[v] = sum of dy[i] over all i with ids[i] = v         rows of equal ids add up
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array, backend_of
from minillm.module import Dtype, Module, Parameter


def embedding_forward(ids: Array, weight: Array) -> tuple[Array, tuple[Array, int]]:
    """ids (...) of integers in [0, V), weight (V, C) -> y (..., C)."""
    return weight[ids], (ids, weight.shape[0])


def embedding_backward(dy: Array, ids: Array, vocab_size: int) -> tuple[None, Array]:
    rows = dy.reshape(-1, dy.shape[-1])  # (N, C)
    return None, backend_of(dy).scatter_add(vocab_size, ids.reshape(-1), rows)  # (V, C)


embedding = Op(embedding_forward, embedding_backward)


@embedding.composition
def embedding_composed(ids: Array, weight: Tensor) -> Tensor:
    return weight[ids]  # (..., C)


class Embedding(Module):
    """A table (n, d_model) drawn from N(0, std)."""

    def __init__(self, n: int, d_model: int, *, std: float = 0.02, rng: np.random.Generator, dtype: Dtype) -> None:
        self.weight = Parameter(std * rng.standard_normal((n, d_model), dtype), "embedding")

    def __call__(self, ids: Array) -> Tensor:  # (...) -> (..., d_model)
        return embedding(ids, self.weight)
