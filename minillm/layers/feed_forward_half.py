"""The second half of a block as one op: y = x + proj(gelu_tanh(fc(layernorm(x)))).

  normed = layernorm(x)    h = normed @ fc_weight^T + fc_bias    a = gelu_tanh(h)
  y = x + a @ proj_weight^T + proj_bias

Backward computes normed and a, the largest array of a block, again from what is saved. The twins take a tile of rows
through the whole chain, so that what lies between two products stays in the cache. Where no twin runs, the parts do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_out
from autograd.jit import Float, In1, In2, Int, Out1, Out2, Out3, gemm, jit, prange, share
from minillm.layers.activations import (
    gelu_tanh_backward,
    gelu_tanh_composed,
    gelu_tanh_forward,
    gelu_tanh_sigmoid,
    gelu_tanh_slope,
)
from minillm.layers.layernorm import (
    layernorm_backward,
    layernorm_backward_row,
    layernorm_composed,
    layernorm_forward,
    layernorm_row,
    scale_and_shift,
)
from minillm.layers.linear import linear_backward, linear_backward_parameters, linear_composed, linear_forward
from minillm.layers.residual import TILE, add_and_normalise_row, assert_shapes, or_zeros, residual_row


def feed_forward_half_forward(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, tuple[Any, ...]]:
    """x (..., C), norm (C,), fc (F, C) and (F,), proj (C, F) and (C,), each bias or None -> y (..., C)."""
    normed, (_, mean, rstd, _, _) = layernorm_forward(x, norm_weight, norm_bias, eps=eps)  # (..., C)
    h, _ = linear_forward(normed, fc_weight, fc_bias)  # (..., F)
    a, _ = gelu_tanh_forward(h)  # (..., F)
    y, _ = linear_forward(a, proj_weight, proj_bias)  # (..., C)
    return x + y, (x, mean, rstd, h, norm_weight, norm_bias, fc_weight, fc_bias, proj_weight, proj_bias)


def feed_forward_half_backward(
    dy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    h: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
) -> tuple[Array | None, ...]:
    normed = scale_and_shift((x - mean) * rstd, norm_weight, norm_bias)  # (..., C)
    a, (_, s) = gelu_tanh_forward(h)  # (..., F) each
    da, dproj_weight, dproj_bias = linear_backward(dy, a, proj_weight, proj_bias)  # (..., F), (C, F), (C,)
    (dh,) = gelu_tanh_backward(da, h, s)  # (..., F)
    dnormed, dfc_weight, dfc_bias = linear_backward(dh, normed, fc_weight, fc_bias)  # (..., C), (F, C), (F,)
    dx, dnorm_weight, dnorm_bias = layernorm_backward(dnormed, x, mean, rstd, norm_weight, norm_bias)
    return dy + dx, dnorm_weight, dnorm_bias, dfc_weight, dfc_bias, dproj_weight, dproj_bias


feed_forward_half = Op(feed_forward_half_forward, feed_forward_half_backward)


@feed_forward_half.composition
def feed_forward_half_composed(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    fc_weight: Tensor,
    fc_bias: Tensor | None,
    proj_weight: Tensor,
    proj_bias: Tensor | None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    normed = layernorm_composed(x, norm_weight, norm_bias, eps=eps)  # (..., C)
    h = linear_composed(normed, fc_weight, fc_bias)  # (..., F)
    a = gelu_tanh_composed(h)  # (..., F)
    return x + linear_composed(a, proj_weight, proj_bias)  # (..., C)


@feed_forward_half.fast("numba")
def feed_forward_half_forward_numba(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, tuple[Any, ...]]:
    (F, C), n = fc_weight.shape, threads()
    y, h = workspace.empty(x.shape), workspace.empty((*x.shape[:-1], F))
    mean, rstd = workspace.empty((*x.shape[:-1], 1)), workspace.empty((*x.shape[:-1], 1))
    narrow, wide = _tiles(x.size // C, C, F, n)
    assert_shapes((norm_weight, norm_bias, C), (fc_weight, fc_bias, F, C), (proj_weight, proj_bias, C, F))
    _forward(
        x.reshape(-1, C),
        norm_weight,
        or_zeros(norm_bias, C),
        fc_weight,
        or_zeros(fc_bias, F),
        proj_weight,
        or_zeros(proj_bias, C),
        y.reshape(-1, C),
        mean.reshape(-1),
        rstd.reshape(-1),
        h.reshape(-1, F),
        narrow,
        wide,
        eps,
        n,
    )
    return y, (x, mean, rstd, h, norm_weight, norm_bias, fc_weight, fc_bias, proj_weight, proj_bias)


@feed_forward_half.fast("numba")
def feed_forward_half_backward_numba(
    dy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    h: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    proj_weight: Array,
    proj_bias: Array | None,
) -> tuple[Array | None, ...]:
    (F, C), n = fc_weight.shape, threads()
    N = x.size // C
    dx, normed = workspace.empty(x.shape), workspace.empty((N, C))
    a, dh = workspace.empty((N, F)), workspace.empty((N, F))
    parts = workspace.zeros((n, 2, C))  # dnorm_weight and dnorm_bias of each thread's rows
    narrow, wide = _tiles(N, C, F, n)
    assert_shapes((norm_weight, norm_bias, C), (fc_weight, fc_bias, F, C), (proj_weight, proj_bias, C, F))
    assert dy.shape == x.shape
    assert (mean.size, rstd.size, h.size) == (N, N, N * F)
    dy = dy.reshape(-1, C)
    _backward_rows(
        dy,
        x.reshape(-1, C),
        mean.reshape(-1),
        rstd.reshape(-1),
        h.reshape(-1, F),
        norm_weight,
        or_zeros(norm_bias, C),
        fc_weight,
        proj_weight,
        dx.reshape(-1, C),
        normed,
        a,
        dh,
        parts,
        narrow,
        wide,
        n,
    )
    (dfc_weight, fc_beta), (dproj_weight, proj_beta) = gradient_out(fc_weight), gradient_out(proj_weight)
    dfc_bias, dproj_bias = np.empty(F, x.dtype), np.empty(C, x.dtype)
    _backward_parameters(dy, a, proj_beta, dproj_weight, dproj_bias, dh, normed, fc_beta, dfc_weight, dfc_bias, n)
    dnorm_weight, dnorm_bias = parts.sum(0)  # (C,) each
    return (
        dx,
        dnorm_weight,
        None if norm_bias is None else dnorm_bias,
        dfc_weight,
        None if fc_bias is None else dfc_bias,
        dproj_weight,
        None if proj_bias is None else dproj_bias,
    )


def _tiles(n_rows: int, C: int, F: int, n_threads: int) -> tuple[Array, Array]:
    """For each thread a tile of rows of either width."""
    rows = min(TILE, -(-n_rows // n_threads))
    return workspace.empty((n_threads, rows, C)), workspace.empty((n_threads, rows, F))


@jit(parallel=True)
def _forward(
    x: In2,
    norm_weight: In1,
    norm_bias: In1,
    fc_weight: In2,
    fc_bias: In1,
    proj_weight: In2,
    proj_bias: In1,
    y: Out2,
    mean: Out1,
    rstd: Out1,
    h: Out2,
    narrow: Out3,
    wide: Out3,
    eps: Float,
    n_threads: Int,
) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for start in range(first, last, wide.shape[1]):
            stop = min(start + wide.shape[1], last)
            normed, a = narrow[t, : stop - start], wide[t, : stop - start]
            for i in range(start, stop):
                mean[i], rstd[i] = layernorm_row(x[i], norm_weight, norm_bias, normed[i - start], eps)
            gemm(1, normed, False, fc_weight, True, 0, a)
            for i in range(start, stop):
                _gelu_row(a[i - start], fc_bias, h[i])
            gemm(1, a, False, proj_weight, True, 0, normed)
            for i in range(start, stop):
                residual_row(x[i], normed[i - start], proj_bias, y[i])


@jit(inline=True)
def _gelu_row(a, bias, h):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """h = a + bias, then a = gelu_tanh(h), all (F,)."""
    for j in range(a.shape[0]):
        x = a[j] + bias[j]
        h[j] = x
        a[j] = x * gelu_tanh_sigmoid(x)


@jit(parallel=True)
def _backward_rows(
    dy: In2,
    x: In2,
    mean: In1,
    rstd: In1,
    h: In2,
    norm_weight: In1,
    norm_bias: In1,
    fc_weight: In2,
    proj_weight: In2,
    dx: Out2,
    normed: Out2,
    a: Out2,
    dh: Out2,
    parts: Out3,
    narrow: Out3,
    wide: Out3,
    n_threads: Int,
) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for start in range(first, last, wide.shape[1]):
            stop = min(start + wide.shape[1], last)
            dnormed, da = narrow[t, : stop - start], wide[t, : stop - start]
            gemm(1, dy[start:stop], False, proj_weight, False, 0, da)
            for i in range(start, stop):
                _gelu_backward_row(da[i - start], h[i], a[i], dh[i])
            gemm(1, da, False, fc_weight, False, 0, dnormed)
            for i in range(start, stop):
                d = dnormed[i - start]
                layernorm_backward_row(d, x[i], mean[i], rstd[i], norm_weight, dx[i], parts[t, 0], parts[t, 1])
                add_and_normalise_row(dy[i], x[i], mean[i], rstd[i], norm_weight, norm_bias, dx[i], normed[i])


@jit(inline=True)
def _gelu_backward_row(da, h, a, dh):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """a = gelu_tanh(h), and dh of da, which becomes dh too, all (F,)."""
    for j in range(da.shape[0]):
        x = h[j]
        s = gelu_tanh_sigmoid(x)
        a[j] = x * s
        dx = da[j] * gelu_tanh_slope(x, s)
        da[j] = dx
        dh[j] = dx


@jit(parallel=True)
def _backward_parameters(
    dy: In2,
    a: In2,
    proj_beta: Int,
    dproj_weight: Out2,
    dproj_bias: Out1,
    dh: In2,
    normed: In2,
    fc_beta: Int,
    dfc_weight: Out2,
    dfc_bias: Out1,
    n_threads: Int,
) -> None:
    for t in prange(n_threads):
        linear_backward_parameters(dy, a, proj_beta, dproj_weight, dproj_bias, t, n_threads)
        linear_backward_parameters(dh, normed, fc_beta, dfc_weight, dfc_bias, t, n_threads)
