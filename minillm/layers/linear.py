"""Linear layer: the same affine map for each row.

y = x @ weight^T + bias
dx = dy @ weight      dweight = dy^T @ x      dbias = sum_rows dy
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_out
from autograd.jit import In1, In2, Int, Out1, Out2, gemm, jit, prange, share
from minillm.module import Dtype, Module, Parameter, normal

# up to so many, each thread reads a part of the weight row by row: BLAS, given a part of the rows of x, took 1.2 to 10
# times as long (measured, 2 threads, 1 to 16 rows), and as long at 32
FEW_ROWS = 16


def linear_forward(
    x: Array, weight: Array, bias: Array | None = None
) -> tuple[Array, tuple[Array, Array, Array | None]]:
    """x (..., in), weight (out, in), bias (out,) or None -> y (..., out)."""
    x2 = x.reshape(-1, x.shape[-1])  # (N, in): one large product instead of one for each batch row
    y = x2 @ weight.T  # (N, out)
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], -1), (x, weight, bias)


def linear_backward(dy: Array, x: Array, weight: Array, bias: Array | None) -> tuple[Array, Array, Array | None]:
    x2, dy2 = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (N, in), (N, out)
    dx = (dy2 @ weight).reshape(x.shape)  # (..., in)
    dweight = dy2.T @ x2  # (out, in)
    dbias = None if bias is None else dy2.sum(0)  # (out,)
    return dx, dweight, dbias


linear = Op(linear_forward, linear_backward)


@linear.composition
def linear_composed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = x @ weight.transpose()  # (..., out)
    return product if bias is None else product + bias


@linear.fast("numba")
def linear_forward_numba(x: Array, weight: Array, bias: Array | None = None) -> Any:
    d_out, d_in = weight.shape
    if x.shape[-1] != d_in or (bias is not None and bias.shape != (d_out,)):  # kernels do not look where they read
        return linear_forward(x, weight, bias)  # which raises
    y = workspace.empty((*x.shape[:-1], d_out))
    shift = np.zeros(d_out, x.dtype) if bias is None else bias
    x2 = x.reshape(-1, d_in)  # (N, in)
    (_forward_few if len(x2) <= FEW_ROWS else _forward)(x2, weight, shift, y.reshape(-1, d_out), threads())
    return y, (x, weight, bias)


@linear.fast("numba")
def linear_backward_numba(dy: Array, x: Array, weight: Array, bias: Array | None) -> tuple[Array, Array, Array | None]:
    d_out, d_in = weight.shape
    assert (*dy.shape, d_in) == (*x.shape[:-1], d_out, x.shape[-1])
    dx, (dweight, beta), dbias = workspace.empty(x.shape), gradient_out(weight), np.empty(d_out, x.dtype)
    _backward(dy.reshape(-1, d_out), x.reshape(-1, d_in), weight, dx.reshape(-1, d_in), beta, dweight, dbias, threads())
    return dx, dweight, None if bias is None else dbias


@jit(inline=True)
def dot(a, b):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    total = np.float32(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@jit(inline=True)
def linear_few_rows(x, weight, bias, y, first, last):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """Columns `first` to `last` of y (N, out) = x (N, in) @ weight^T + bias: each row of the weight is read once."""
    for j in range(first, last):
        for i in range(x.shape[0]):
            y[i, j] = dot(weight[j], x[i]) + bias[j]


@jit(inline=True)
def add_to_rows(y, bias):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """bias (C,) is added to each row of y (N, C)."""
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] += bias[j]


@jit(inline=True)
def sum_of_rows(x, first, total):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """total is set to the sum of the rows of x (N, C) from column `first` on."""
    for j in range(total.shape[0]):
        total[j] = 0
    for i in range(x.shape[0]):
        row = x[i][first:]  # of a row, a slice is contiguous for the compiler too
        for j in range(total.shape[0]):
            total[j] += row[j]


@jit(inline=True)
def linear_backward_parameters(dy, x, beta, dweight, dbias, turn, n_turns):  # type: ignore[no-untyped-def]  # as above
    """One of n_turns parts: rows of dweight (out, in), added to what is there if beta is 1, and of dbias."""
    first, last = share(turn, n_turns, dweight.shape[0])
    gemm(1, dy[:, first:last], True, x, False, beta, dweight[first:last])
    sum_of_rows(dy, first, dbias[first:last])


@jit(parallel=True)
def _forward_few(x: In2, weight: In2, bias: In1, y: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, weight.shape[0])
        linear_few_rows(x, weight, bias, y, first, last)


@jit(parallel=True)
def _forward(x: In2, weight: In2, bias: In1, y: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        gemm(1, x[first:last], False, weight, True, 0, y[first:last])
        add_to_rows(y[first:last], bias)


@jit(parallel=True)
def _backward(dy: In2, x: In2, weight: In2, dx: Out2, beta: Int, dweight: Out2, dbias: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        gemm(1, dy[first:last], False, weight, False, 0, dx[first:last])
        linear_backward_parameters(dy, x, beta, dweight, dbias, t, n_threads)


class Linear(Module):
    """`y = x @ weight^T + bias`, weight (d_out, d_in) drawn from N(0, std), bias zero."""

    def __init__(
        self, d_in: int, d_out: int, *, bias: bool = True, std: float = 0.02, rng: np.random.Generator, dtype: Dtype
    ) -> None:
        self.weight = Parameter(normal((d_out, d_in), std, rng, dtype), "weight")
        self.bias = Parameter(np.zeros(d_out, dtype), "vector") if bias else None

    def __call__(self, x: Tensor) -> Tensor:  # (..., d_in) -> (..., d_out)
        return linear(x, self.weight, self.bias)
