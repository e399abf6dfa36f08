"""Attention for "numba": head by head on threads, and in each head some queries at a time over all earlier keys.

The scores of so few queries stay in a core's cache, and there is no more of them than one tile for each thread. Later
keys are left out, but for those of the tile itself, so about half of the products are never computed. With dropout, the
mask of a query is drawn where it is used, for the keys that the query sees, in forward and again in backward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Float, Ids1, In3, Int, Out2, Out3, gemm, jit, prange, share
from autograd.jit_math import softmax_row
from autograd.jit_random import SPARE, draw_of, keep_row
from minillm.layers.attention.reference import attention, attention_backward, attention_forward

TILE = 16  # queries that are looked at together: less of later keys is computed; scores, TILE x T, stay in the cache


@attention.fast("numba")
def attention_forward_numba(
    qkv: Array,
    mask: Array | None = None,
    *,
    n_head: int,
    causal: bool = True,
    dropout: float = 0.0,
    dropout_key: tuple[int, int] = (0, 0),
) -> tuple[Array, tuple[Any, ...]]:
    """Causal attention without mask; all else is left to the reference."""
    if mask is not None or not causal:
        return attention_forward(qkv, mask, n_head=n_head, causal=causal, dropout=dropout, dropout_key=dropout_key)
    (B, T, C3), n = qkv.shape, threads()
    assert C3 % (3 * n_head) == 0  # kernels do not look where they read and write
    y = workspace.empty((B, T, C3 // 3))
    drop = draw_of(dropout_key, dropout), 1 / (1 - dropout), workspace.empty((n, T + SPARE))
    _forward(qkv, y, _transposed(n, T, C3 // 3 // n_head), _tiles(n, T), *drop, n_head, n)
    return y, (qkv, y, None, n_head, True, dropout, dropout_key)


@attention.fast("numba")
def attention_backward_numba(
    dy: Array,
    qkv: Array,
    y: Array,
    mask: Array | None,
    n_head: int,
    causal: bool,
    dropout: float,
    dropout_key: tuple[int, int],
) -> tuple[Array, None]:
    if mask is not None or not causal:
        return attention_backward(dy, qkv, y, mask, n_head, causal, dropout, dropout_key)
    (B, T, C), n = dy.shape, threads()
    assert y.shape == dy.shape
    assert qkv.shape == (B, T, 3 * C)
    assert C % n_head == 0
    dqkv = workspace.empty(qkv.shape)
    keys, values = _transposed(n, T, C // n_head), _transposed(n, T, C // n_head)
    drop = draw_of(dropout_key, dropout), 1 / (1 - dropout), workspace.empty((n, T + SPARE))
    _backward(dy, qkv, y, dqkv, keys, values, _tiles(n, T), _tiles(n, T), *drop, n_head, n)
    return dqkv, None


def _tiles(n_threads: int, T: int) -> Array:
    """Scratch for the scores of one tile of queries on each thread, (n_threads, at most TILE, T)."""
    return workspace.empty((n_threads, min(TILE, T), T))


def _transposed(n_threads: int, T: int, D: int) -> Array:
    """Scratch for the keys or values of one head on each thread, (n_threads, D, T)."""
    return workspace.empty((n_threads, D, T))


@jit(inline=True)
def transpose(x, x_t):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """x_t (D, T) = x^T: BLAS multiplies such small matrices by it in half to 9/10 of the time it takes for x^T."""
    for d in range(x_t.shape[0]):
        row = x_t[d]
        for j in range(row.shape[0]):
            row[j] = x[j, d]


@jit(inline=True)
def causal_probs_tile(q, k_t, first, scale, probs):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """probs (n, first + n) of the queries from `first` on, in q (n, D), for keys k_t (D, first + n)."""
    gemm(scale, q, False, k_t, False, 0, probs[: q.shape[0], : k_t.shape[1]])
    for i in range(q.shape[0]):
        softmax_row(probs[i, : first + i + 1])
        for j in range(first + i + 1, k_t.shape[1]):
            probs[i, j] = 0


@jit(inline=True)
def multiply(x, factors):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """The first numbers of x, as many as there are factors, are multiplied by them."""
    for j in range(factors.shape[0]):
        x[j] *= factors[j]


@jit(inline=True)
def attention_head(  # type: ignore[no-untyped-def]  # compiled for what it is handed
    q, k, v, y, k_t, tile, draw, keep_scale, words, head
):
    """y of one head of one row of the batch, all (T, D); k_t (D, T), tile (TILE, T), words (T + SPARE,) are scratch."""
    transpose(k, k_t)
    scale, T = np.float32(1) / np.sqrt(np.float32(q.shape[1])), q.shape[0]
    for first in range(0, T, tile.shape[0]):
        last = min(first + tile.shape[0], T)
        causal_probs_tile(q[first:last], k_t[:, :last], first, scale, tile)
        if draw[4]:
            for i in range(first, last):
                multiply(tile[i - first], keep_row(draw, keep_scale, (head * T + i) * T, i + 1, words))
        gemm(1, tile[: last - first, :last], False, v[:last], False, 0, y[first:last])


@jit(inline=True)
def attention_backward_head(  # type: ignore[no-untyped-def]  # as above
    dy, q, k, v, y, dq, dk, dv, k_t, v_t, probs, dscores, draw, keep_scale, words, head
):
    """dq, dk, dv of a head of a row of the batch, all (T, D).

    k_t and v_t (D, T), probs and dscores (TILE, T) and words (T + SPARE,) are scratch.
    """
    transpose(k, k_t)
    transpose(v, v_t)
    scale = np.float32(1) / np.sqrt(np.float32(q.shape[1]))
    T, n, drops = probs.shape[1], probs.shape[0], draw[4] > 0
    for turn in range((T + n - 1) // n):
        last = T - turn * n  # the last queries first: they see all keys, so that their products write dk and dv
        first, beta = max(last - n, 0), min(turn, 1)
        p, ds = probs[: last - first, :last], dscores[: last - first, :last]  # each (n, last)
        causal_probs_tile(q[first:last], k_t[:, :last], first, scale, probs)
        gemm(1, dy[first:last], False, v_t[:, :last], False, 0, ds)  # dprobs
        for i in range(last - first):
            dy_y = np.float32(0)
            for j in range(dy.shape[1]):
                dy_y += dy[first + i, j] * y[first + i, j]
            row, prob = dscores[i, :last], probs[i, :last]  # each (last,), where prob is 0 from first + i + 1 on
            if drops:
                keep = keep_row(draw, keep_scale, (head * T + first + i) * T, first + i + 1, words)
                multiply(row, keep)
            for j in range(row.shape[0]):
                row[j] = prob[j] * (row[j] - dy_y)
            if drops:
                multiply(prob, keep)
        gemm(1, p, True, dy[first:last], False, beta, dv[:last])
        gemm(scale, ds, True, q[first:last], False, beta, dk[:last])
        gemm(scale, ds, False, k[:last], False, 0, dq[first:last])


@jit(parallel=True)
def _forward(
    qkv: In3,
    y: Out3,
    keys: Out3,
    tiles: Out3,
    draw: Ids1,
    keep_scale: Float,
    words: Out2,
    n_head: Int,
    n_threads: Int,
) -> None:
    C, D = y.shape[2], y.shape[2] // n_head
    for t in prange(n_threads):
        first, last = share(t, n_threads, y.shape[0] * n_head)
        for i in range(first, last):
            x, c = qkv[i // n_head], i % n_head * D
            head = y[i // n_head, :, c : c + D]
            q, k, v = x[:, c : c + D], x[:, C + c : C + c + D], x[:, 2 * C + c : 2 * C + c + D]  # each (T, D)
            attention_head(q, k, v, head, keys[t], tiles[t], draw, keep_scale, words[t], i)


@jit(parallel=True)
def _backward(
    dy: In3,
    qkv: In3,
    y: In3,
    dqkv: Out3,
    keys: Out3,
    values: Out3,
    probs: Out3,
    dscores: Out3,
    draw: Ids1,
    keep_scale: Float,
    words: Out2,
    n_head: Int,
    n_threads: Int,
) -> None:
    C, D = y.shape[2], y.shape[2] // n_head
    for t in prange(n_threads):
        first, last = share(t, n_threads, y.shape[0] * n_head)
        for i in range(first, last):
            x, dx, c = qkv[i // n_head], dqkv[i // n_head], i % n_head * D
            attention_backward_head(
                dy[i // n_head, :, c : c + D],
                x[:, c : c + D],
                x[:, C + c : C + c + D],
                x[:, 2 * C + c : 2 * C + c + D],
                y[i // n_head, :, c : c + D],
                dx[:, c : c + D],
                dx[:, C + c : C + c + D],
                dx[:, 2 * C + c : 2 * C + c + D],
                keys[t],
                values[t],
                probs[t],
                dscores[t],
                draw,
                keep_scale,
                words[t],
                i,
            )
