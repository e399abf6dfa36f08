"""Activation functions of the feed-forward layer.

  relu       y = max(x, 0)                       dx = dy where x > 0            (0 at the kink, as PyTorch has it)
  gelu       y = x * Phi(x)                      dx = dy * (Phi(x) + x * phi(x))
             Phi(x) = (1 + erf(x/sqrt 2)) / 2    phi(x) = exp(-x^2/2) / sqrt(2 pi)
  gelu_tanh  u = sqrt(2/pi) * (x + 0.044715 x^3)     t = tanh u      y = x * (1 + t) / 2
             dx = dy * ((1 + t)/2 + x * (1 - t^2)/2 * sqrt(2/pi) * (1 + 3*0.044715 x^2))

GELU: Hendrycks & Gimpel 2016, arXiv:1606.08415; GPT-2 uses the tanh form.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import In1, Int, Out1, jit, prange, share
from autograd.jit_math import tanh
from autograd.ops import erf, where
from autograd.ops.special import erf_forward

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def relu_forward(x: Array) -> tuple[Array, tuple[Array]]:
    positive = x.real > 0
    return np.where(positive, x, 0).astype(x.dtype, copy=False), (positive,)


def relu_backward(dy: Array, positive: Array) -> tuple[Array]:
    return (dy * positive,)


def gelu_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    cdf = 0.5 * (1 + erf_forward(x * math.sqrt(0.5))[0])  # Phi(x), of x's shape
    return x * cdf, (x, cdf)


def gelu_backward(dy: Array, x: Array, cdf: Array) -> tuple[Array]:
    pdf = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))  # phi(x)
    return (dy * (cdf + x * pdf),)


def gelu_tanh_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    t = np.tanh(_SQRT_2_OVER_PI * x * (1 + _CUBIC * x * x))  # of x's shape
    return 0.5 * x * (1 + t), (x, t)


def gelu_tanh_backward(dy: Array, x: Array, t: Array) -> tuple[Array]:
    du = _SQRT_2_OVER_PI * (1 + 3 * _CUBIC * x * x)  # du/dx, of x's shape
    return (dy * 0.5 * (1 + t + x * (1 - t * t) * du),)


relu = Op(relu_forward, relu_backward)
gelu = Op(gelu_forward, gelu_backward)
gelu_tanh = Op(gelu_tanh_forward, gelu_tanh_backward)


@relu.composition
def relu_composed(x: Tensor) -> Tensor:
    return where(x.data.real > 0, x, 0)  # of x's shape


@gelu.composition
def gelu_composed(x: Tensor) -> Tensor:
    cdf = (1 + erf(x / math.sqrt(2))) / 2  # Phi(x), of x's shape
    return x * cdf


@gelu_tanh.composition
def gelu_tanh_composed(x: Tensor) -> Tensor:
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)  # of x's shape
    return x * (1 + u.tanh()) / 2


@gelu_tanh.fast("numba")
def gelu_tanh_forward_numba(x: Array) -> Any:
    y, t = workspace.empty(x.shape), workspace.empty(x.shape)
    _forward(x.reshape(-1), y.reshape(-1), t.reshape(-1), threads())
    return y, (x, t)


@gelu_tanh.fast("numba")
def gelu_tanh_backward_numba(dy: Array, x: Array, t: Array) -> tuple[Array]:
    dx = workspace.empty(x.shape)
    _backward(dy.reshape(-1), x.reshape(-1), t.reshape(-1), dx.reshape(-1), threads())
    return (dx,)


@jit(inline=True)
def gelu_tanh_t(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """t of one number."""
    return tanh(np.float32(_SQRT_2_OVER_PI) * x * (np.float32(1) + np.float32(_CUBIC) * x * x))


@jit(inline=True)
def gelu_tanh_slope(x, t):  # type: ignore[no-untyped-def]
    """dy/dx of one number."""
    du = np.float32(_SQRT_2_OVER_PI) * (np.float32(1) + np.float32(3 * _CUBIC) * x * x)
    return np.float32(0.5) * (np.float32(1) + t + x * (np.float32(1) - t * t) * du)


@jit(parallel=True)
def _forward(x: In1, y: Out1, t: Out1, n_threads: Int) -> None:
    for thread in prange(n_threads):
        first, last = share(thread, n_threads, x.shape[0])
        own_x, own_y, own_t = x[first:last], y[first:last], t[first:last]
        for i in range(own_x.shape[0]):
            own_t[i] = gelu_tanh_t(own_x[i])
            own_y[i] = np.float32(0.5) * own_x[i] * (np.float32(1) + own_t[i])


@jit(parallel=True)
def _backward(dy: In1, x: In1, t: In1, dx: Out1, n_threads: Int) -> None:
    for thread in prange(n_threads):
        first, last = share(thread, n_threads, x.shape[0])
        own_dy, own_x, own_t, own_dx = dy[first:last], x[first:last], t[first:last], dx[first:last]
        for i in range(own_x.shape[0]):
            own_dx[i] = own_dy[i] * gelu_tanh_slope(own_x[i], own_t[i])


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh}
