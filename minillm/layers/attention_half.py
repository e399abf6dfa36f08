"""The first half of a block as one op: y = x + proj(attention(qkv(layernorm(x)))), causal, without mask and dropout.

  normed = layernorm(x)    qkv = normed @ qkv_weight^T + qkv_bias    a = attention(qkv)
  y = x + a @ proj_weight^T + proj_bias

Backward computes normed again from what is saved. Where no twin runs, the parts do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_out
from autograd.jit import Float, In1, In2, Int, Out1, Out2, Out3, gemm, jit, prange, share
from minillm.layers.attention import attention_backward, attention_composed, attention_forward
from minillm.layers.attention.compiled import attention_backward_numba, attention_forward_numba
from minillm.layers.layernorm import (
    layernorm_backward,
    layernorm_backward_row,
    layernorm_composed,
    layernorm_forward,
    layernorm_row,
    scale_and_shift,
)
from minillm.layers.linear import (
    add_to_rows,
    linear_backward,
    linear_backward_numba,
    linear_backward_parameters,
    linear_composed,
    linear_forward,
)
from minillm.layers.residual import TILE, add_and_normalise_row, assert_shapes, or_zeros, residual_row


def attention_half_forward(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    *,
    n_head: int,
    eps: float = 1e-5,
) -> tuple[Array, tuple[Any, ...]]:
    """x (B, T, C), norm (C,), qkv (3C, C) and (3C,), proj (C, C) and (C,), each bias or None -> y (B, T, C)."""
    normed, (_, mean, rstd, _, _) = layernorm_forward(x, norm_weight, norm_bias, eps=eps)  # (B, T, C)
    qkv, _ = linear_forward(normed, qkv_weight, qkv_bias)  # (B, T, 3C)
    a, _ = attention_forward(qkv, n_head=n_head)  # (B, T, C)
    y, _ = linear_forward(a, proj_weight, proj_bias)  # (B, T, C)
    return x + y, (x, mean, rstd, qkv, a, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias, n_head)


def attention_half_backward(
    dy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    qkv: Array,
    a: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    n_head: int,
) -> tuple[Array | None, ...]:
    normed = scale_and_shift((x - mean) * rstd, norm_weight, norm_bias)  # (B, T, C)
    da, dproj_weight, dproj_bias = linear_backward(dy, a, proj_weight, proj_bias)  # (B, T, C), (C, C), (C,)
    dqkv, _ = attention_backward(da, qkv, a, None, n_head, True, 0.0, (0, 0))  # (B, T, 3C)
    dnormed, dqkv_weight, dqkv_bias = linear_backward(dqkv, normed, qkv_weight, qkv_bias)  # (B, T, C), (3C, C), (3C,)
    dx, dnorm_weight, dnorm_bias = layernorm_backward(dnormed, x, mean, rstd, norm_weight, norm_bias)
    return dy + dx, dnorm_weight, dnorm_bias, dqkv_weight, dqkv_bias, dproj_weight, dproj_bias


attention_half = Op(attention_half_forward, attention_half_backward)


@attention_half.composition
def attention_half_composed(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    proj_weight: Tensor,
    proj_bias: Tensor | None,
    *,
    n_head: int,
    eps: float = 1e-5,
) -> Tensor:
    normed = layernorm_composed(x, norm_weight, norm_bias, eps=eps)  # (B, T, C)
    qkv = linear_composed(normed, qkv_weight, qkv_bias)  # (B, T, 3C)
    a = attention_composed(qkv, n_head=n_head)  # (B, T, C)
    return x + linear_composed(a, proj_weight, proj_bias)  # (B, T, C)


@attention_half.fast("numba")
def attention_half_forward_numba(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    *,
    n_head: int,
    eps: float = 1e-5,
) -> tuple[Array, tuple[Any, ...]]:
    (B, T, C), n = x.shape, threads()
    assert_shapes((norm_weight, norm_bias, C), (qkv_weight, qkv_bias, 3 * C, C), (proj_weight, proj_bias, C, C))
    mean, rstd = workspace.empty((B, T, 1)), workspace.empty((B, T, 1))
    qkv, y = workspace.empty((B, T, 3 * C)), workspace.empty((B, T, C))
    rows, tiles = x.reshape(-1, C), _tiles(B * T, C, n)
    norm = norm_weight, or_zeros(norm_bias, C), eps
    _norm_qkv(
        rows, *norm, qkv_weight, or_zeros(qkv_bias, 3 * C), mean.ravel(), rstd.ravel(), qkv.reshape(-1, 3 * C), tiles, n
    )
    a, _ = attention_forward_numba(qkv, n_head=n_head)  # (B, T, C)
    _project(rows, a.reshape(-1, C), proj_weight, or_zeros(proj_bias, C), y.reshape(-1, C), n)
    return y, (x, mean, rstd, qkv, a, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias, n_head)


@attention_half.fast("numba")
def attention_half_backward_numba(
    dy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    qkv: Array,
    a: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    n_head: int,
) -> tuple[Array | None, ...]:
    (B, T, C), n = x.shape, threads()
    assert_shapes((norm_weight, norm_bias, C), (qkv_weight, qkv_bias, 3 * C, C), (proj_weight, proj_bias, C, C))
    assert dy.shape == a.shape == x.shape
    assert (mean.size, rstd.size, qkv.shape) == (B * T, B * T, (B, T, 3 * C))
    da, dproj_weight, dproj_bias = linear_backward_numba(dy, a, proj_weight, proj_bias)  # (B, T, C), (C, C), (C,)
    dqkv, _ = attention_backward_numba(da, qkv, a, None, n_head, True, 0.0, (0, 0))  # (B, T, 3C)
    dx, normed = workspace.empty((B, T, C)), workspace.empty((B * T, C))
    (dqkv_weight, beta), dqkv_bias = gradient_out(qkv_weight), np.empty(3 * C, x.dtype)
    parts = workspace.zeros((n, 2, C))  # dnorm_weight and dnorm_bias of each thread's rows
    _backward(
        dy.reshape(-1, C),
        dqkv.reshape(-1, 3 * C),
        x.reshape(-1, C),
        mean.ravel(),
        rstd.ravel(),
        norm_weight,
        or_zeros(norm_bias, C),
        qkv_weight,
        dx.reshape(-1, C),
        normed,
        parts,
        beta,
        dqkv_weight,
        dqkv_bias,
        _tiles(B * T, C, n),
        n,
    )
    dnorm_weight, dnorm_bias = parts.sum(0)  # (C,) each
    return (
        dx,
        dnorm_weight,
        None if norm_bias is None else dnorm_bias,
        dqkv_weight,
        None if qkv_bias is None else dqkv_bias,
        dproj_weight,
        dproj_bias,
    )


def _tiles(n_rows: int, C: int, n_threads: int) -> Array:
    """A tile of rows for each thread, (n_threads, at most TILE, C)."""
    return workspace.empty((n_threads, min(TILE, -(-n_rows // n_threads)), C))


@jit(parallel=True)
def _norm_qkv(
    x: In2,
    norm_weight: In1,
    norm_bias: In1,
    eps: Float,
    qkv_weight: In2,
    qkv_bias: In1,
    mean: Out1,
    rstd: Out1,
    qkv: Out2,
    tiles: Out3,
    n_threads: Int,
) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for start in range(first, last, tiles.shape[1]):
            stop = min(start + tiles.shape[1], last)
            normed = tiles[t, : stop - start]  # (n, C)
            for i in range(start, stop):
                mean[i], rstd[i] = layernorm_row(x[i], norm_weight, norm_bias, normed[i - start], eps)
            gemm(1, normed, False, qkv_weight, True, 0, qkv[start:stop])
            add_to_rows(qkv[start:stop], qkv_bias)


@jit(parallel=True)
def _project(x: In2, a: In2, proj_weight: In2, proj_bias: In1, y: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        gemm(1, a[first:last], False, proj_weight, True, 0, y[first:last])
        for i in range(first, last):
            residual_row(x[i], y[i], proj_bias, y[i])


@jit(parallel=True)
def _backward(
    dy: In2,
    dqkv: In2,
    x: In2,
    mean: In1,
    rstd: In1,
    norm_weight: In1,
    norm_bias: In1,
    qkv_weight: In2,
    dx: Out2,
    normed: Out2,
    parts: Out3,
    beta: Int,
    dqkv_weight: Out2,
    dqkv_bias: Out1,
    tiles: Out3,
    n_threads: Int,
) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for start in range(first, last, tiles.shape[1]):
            stop = min(start + tiles.shape[1], last)
            dnormed = tiles[t, : stop - start]  # (n, C)
            gemm(1, dqkv[start:stop], False, qkv_weight, False, 0, dnormed)
            for i in range(start, stop):
                d = dnormed[i - start]
                layernorm_backward_row(d, x[i], mean[i], rstd[i], norm_weight, dx[i], parts[t, 0], parts[t, 1])
                add_and_normalise_row(dy[i], x[i], mean[i], rstd[i], norm_weight, norm_bias, dx[i], normed[i])
    for t in prange(n_threads):
        linear_backward_parameters(dqkv, normed, beta, dqkv_weight, dqkv_bias, t, n_threads)
