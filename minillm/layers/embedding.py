"""Embedding: one row of a table for each id. Used for tokens and for positions.

y[i] = weight[ids[i]]
dweight[v] = sum of dy[i] over all i with ids[i] = v         rows of equal ids add up
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array, backend_of
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_out
from autograd.jit import Ids1, In2, Int, Out2, jit, prange, share
from minillm.module import Dtype, Module, Parameter, normal


def embedding_forward(ids: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    """ids (...) of integers in [0, V), weight (V, C) -> y (..., C)."""
    return weight[ids], (ids, weight)


def embedding_backward(dy: Array, ids: Array, weight: Array) -> tuple[None, Array]:
    rows = dy.reshape(-1, dy.shape[-1])  # (N, C)
    return None, backend_of(dy).scatter_add(len(weight), ids.reshape(-1), rows)  # (V, C)


embedding = Op(embedding_forward, embedding_backward)


@embedding.composition
def embedding_composed(ids: Array, weight: Tensor) -> Tensor:
    return weight[ids]  # (..., C)


@embedding.fast("numba")
def embedding_forward_numba(ids: Array, weight: Array) -> Any:
    if _out_of_range(ids, len(weight)):
        return embedding_forward(ids, weight)
    y = workspace.empty((*ids.shape, weight.shape[1]))
    _forward(_flat(ids), weight, y.reshape(-1, weight.shape[1]), threads())
    return y, (ids, weight)


@embedding.fast("numba")
def embedding_backward_numba(dy: Array, ids: Array, weight: Array) -> tuple[None, Array]:
    if _out_of_range(ids, len(weight)):
        return embedding_backward(dy, ids, weight)
    dweight, beta = gradient_out(weight)  # (V, C)
    _backward(dy.reshape(-1, dy.shape[-1]), _flat(ids), beta, dweight, threads())
    return None, dweight


def _out_of_range(ids: Array, n: int) -> bool:
    """Kernels trust the ids; with these NumPy counts from the end of the table, or raises IndexError."""
    return bool(ids.size) and not 0 <= ids.min() <= ids.max() < n


def _flat(ids: Array) -> Array:
    return np.ascontiguousarray(ids.reshape(-1), np.int64)


@jit(parallel=True)
def _forward(ids: Ids1, weight: In2, y: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, ids.shape[0])
        for i in range(first, last):
            own_y, row = y[i], weight[ids[i]]
            for j in range(row.shape[0]):
                own_y[j] = row[j]


@jit(parallel=True)
def _backward(dy: In2, ids: Ids1, beta: Int, dweight: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):  # each takes some columns of all rows: equal work, and the order of the ids for each
        first, last = share(t, n_threads, dy.shape[1])
        for v in range(0 if beta else dweight.shape[0]):
            row = dweight[v][first:last]
            for j in range(row.shape[0]):
                row[j] = 0
        for i in range(dy.shape[0]):
            row, own_dy = dweight[ids[i]][first:last], dy[i][first:last]
            for j in range(row.shape[0]):
                row[j] += own_dy[j]


class Embedding(Module):
    """A table (n, d_model) drawn from N(0, std)."""

    def __init__(self, n: int, d_model: int, *, std: float = 0.02, rng: np.random.Generator, dtype: Dtype) -> None:
        self.weight = Parameter(normal((n, d_model), std, rng, dtype), "embedding")

    def __call__(self, ids: Array) -> Tensor:  # (...) -> (..., d_model)
        return embedding(ids, self.weight)
