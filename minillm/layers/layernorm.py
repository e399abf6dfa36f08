"""Layer normalisation over the last axis. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

mean = E[x]    rstd = 1/sqrt(E[(x-mean)^2] + eps)    xhat = (x-mean)*rstd    y = xhat*weight + bias
dbias = sum_rows dy     dweight = sum_rows dy*xhat     dxhat = dy*weight
dx = rstd * (dxhat - E[dxhat] - xhat*E[dxhat*xhat])          the two means: through mean, through rstd
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Float, In1, In2, Int, Out1, Out2, Out3, jit, prange, share
from minillm.module import Dtype, Module, Parameter


def layernorm_forward(
    x: Array, weight: Array, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, tuple[Array, Array, Array, Array, Array | None]]:
    """x (..., C), weight (C,), bias (C,) or None -> y (..., C)."""
    mean = x.mean(-1, keepdims=True)  # (..., 1)
    xc = x - mean  # (..., C)
    rstd = 1 / np.sqrt((xc * xc).mean(-1, keepdims=True) + eps)  # (..., 1)
    return scale_and_shift(xc * rstd, weight, bias), (x, mean, rstd, weight, bias)


def scale_and_shift(xhat: Array, weight: Array, bias: Array | None) -> Array:
    """y of xhat (..., C), which is overwritten."""
    xhat *= weight
    if bias is not None:
        xhat += bias
    return xhat


def layernorm_backward(
    dy: Array, x: Array, mean: Array, rstd: Array, weight: Array, bias: Array | None
) -> tuple[Array, Array, Array | None]:
    xhat = (x - mean) * rstd  # (..., C), recomputed: cheaper than keeping it
    rows = tuple(range(dy.ndim - 1))
    dweight = (dy * xhat).sum(rows)  # (C,)
    dbias = None if bias is None else dy.sum(rows)  # (C,)
    dxhat = dy * weight  # (..., C)
    through_mean = dxhat.mean(-1, keepdims=True)  # (..., 1)
    through_rstd = xhat * (dxhat * xhat).mean(-1, keepdims=True)  # (..., C)
    dx = rstd * (dxhat - through_mean - through_rstd)  # (..., C)
    return dx, dweight, dbias


layernorm = Op(layernorm_forward, layernorm_backward)


@layernorm.composition
def layernorm_composed(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    mean = x.mean(-1, keepdims=True)  # (..., 1)
    xc = x - mean  # (..., C)
    variance = (xc**2).mean(-1, keepdims=True)  # (..., 1)
    xhat = xc / (variance + eps).sqrt()  # (..., C)
    scaled = xhat * weight  # (..., C)
    return scaled if bias is None else scaled + bias


@layernorm.fast("numba")
def layernorm_forward_numba(x: Array, weight: Array, bias: Array | None = None, *, eps: float = 1e-5) -> Any:
    C = x.shape[-1]
    assert weight.shape == (C,)  # kernels do not look where they read and write
    assert bias is None or bias.shape == (C,)
    mean, rstd = workspace.empty((*x.shape[:-1], 1)), workspace.empty((*x.shape[:-1], 1))
    y = workspace.empty(x.shape)
    shift = np.zeros_like(weight) if bias is None else bias
    _forward(x.reshape(-1, C), weight, shift, y.reshape(-1, C), mean.reshape(-1), rstd.reshape(-1), eps, threads())
    return y, (x, mean, rstd, weight, bias)


@layernorm.fast("numba")
def layernorm_backward_numba(
    dy: Array, x: Array, mean: Array, rstd: Array, weight: Array, bias: Array | None
) -> tuple[Array, Array, Array | None]:
    C, n = x.shape[-1], threads()
    assert (dy.shape, weight.shape) == (x.shape, (C,))
    assert mean.size == rstd.size == math.prod(x.shape[:-1])
    dx = workspace.empty(x.shape)
    parts = workspace.zeros((n, 2, C))  # dweight and dbias of each thread's rows
    rows = (a.reshape(-1, C) for a in (dy, x, dx))
    _backward(*rows, mean.reshape(-1), rstd.reshape(-1), weight, parts, n)
    dweight, dbias = parts.sum(0)  # (C,) each
    return dx, dweight, None if bias is None else dbias


@jit(inline=True)
def layernorm_row(x, weight, bias, y, eps):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """y = layernorm(x), all (C,); returns mean and rstd."""
    n = x.shape[0]
    total = np.float32(0)
    for j in range(n):
        total += x[j]
    mean = total / np.float32(n)
    squares = np.float32(0)
    for j in range(n):
        squares += (x[j] - mean) * (x[j] - mean)
    rstd = np.float32(1) / np.sqrt(squares / np.float32(n) + np.float32(eps))
    for j in range(n):
        y[j] = (x[j] - mean) * rstd * weight[j] + bias[j]
    return mean, rstd


@jit(inline=True)
def layernorm_backward_row(dy, x, mean, rstd, weight, dx, dweight, dbias):  # type: ignore[no-untyped-def]  # as above
    """dx of one row (C,); dweight and dbias (C,) are added to."""
    n = x.shape[0]
    through_mean, through_rstd = np.float32(0), np.float32(0)
    for j in range(n):
        xhat = (x[j] - mean) * rstd
        dxhat = dy[j] * weight[j]
        dx[j] = dxhat
        dbias[j] += dy[j]
        dweight[j] += dy[j] * xhat
        through_mean += dxhat
        through_rstd += dxhat * xhat
    through_mean /= np.float32(n)
    through_rstd /= np.float32(n)
    for j in range(n):
        dx[j] = rstd * (dx[j] - through_mean - (x[j] - mean) * rstd * through_rstd)


@jit(parallel=True)
def _forward(x: In2, weight: In1, bias: In1, y: Out2, mean: Out1, rstd: Out1, eps: Float, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for i in range(first, last):
            mean[i], rstd[i] = layernorm_row(x[i], weight, bias, y[i], eps)


@jit(parallel=True)
def _backward(dy: In2, x: In2, dx: Out2, mean: In1, rstd: In1, weight: In1, parts: Out3, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for i in range(first, last):
            layernorm_backward_row(dy[i], x[i], mean[i], rstd[i], weight, dx[i], parts[t, 0], parts[t, 1])


class LayerNorm(Module):
    """weight of ones and bias of zeros, both (d_model,); without bias as an option."""

    def __init__(self, d_model: int, *, bias: bool = True, eps: float = 1e-5, dtype: Dtype) -> None:
        self.weight = Parameter(np.ones(d_model, dtype), "vector")
        self.bias = Parameter(np.zeros(d_model, dtype), "vector") if bias else None
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:  # (..., d_model) -> (..., d_model)
        return layernorm(x, self.weight, self.bias, eps=self.eps)
