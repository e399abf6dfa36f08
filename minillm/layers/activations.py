"""Activation functions of the feed-forward layer.

  relu       y = max(x, 0)                       dx = dy where x > 0            (0 at the kink, as PyTorch has it)
  gelu       y = x * Phi(x)                      dx = dy * (Phi(x) + x * phi(x))
             Phi(x) = (1 + erf(x/sqrt 2)) / 2    phi(x) = exp(-x^2/2) / sqrt(2 pi)
  gelu_tanh  u = 2 sqrt(2/pi) * (x + 0.044715 x^3)   s = 1 / (1 + e^-u)      y = x * s
             dx = dy * s * (1 + x * (1 - s) * du/dx)      du/dx = 2 sqrt(2/pi) * (1 + 3*0.044715 x^2)

GELU: Hendrycks & Gimpel 2016, arXiv:1606.08415; GPT-2 uses the second form. It is written there with tanh, as
s = (1 + tanh(u/2)) / 2, which is the same, but for x near -5 nearly all digits cancel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import In1, Int, Out1, jit, prange, share
from autograd.jit_math import exp
from autograd.ops import erf, where
from autograd.ops.special import erf_forward

_TWICE_SQRT_2_OVER_PI = 2 * math.sqrt(2 / math.pi)
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
    with np.errstate(over="ignore"):  # for x below -10, e^-u may be infinite, and s is 0
        s = 1 / (1 + np.exp(-_TWICE_SQRT_2_OVER_PI * x * (1 + _CUBIC * x * x)))  # of x's shape
    return x * s, (x, s)


def gelu_tanh_backward(dy: Array, x: Array, s: Array) -> tuple[Array]:
    slope = _TWICE_SQRT_2_OVER_PI * (1 + 3 * _CUBIC * x * x)  # du/dx, of x's shape
    return (dy * s * (1 + x * (1 - s) * slope),)


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
    u = math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)  # of x's shape
    below = x.data.real < 0
    e = where(below, u, -u).exp()  # e^-|u|, at most 1
    s = where(below, e, 1) / (1 + e)  # of x's shape
    return x * s


@gelu_tanh.fast("numba")
def gelu_tanh_forward_numba(x: Array) -> Any:
    y, s = workspace.empty(x.shape), workspace.empty(x.shape)
    _forward(x.reshape(-1), y.reshape(-1), s.reshape(-1), threads())
    return y, (x, s)


@gelu_tanh.fast("numba")
def gelu_tanh_backward_numba(dy: Array, x: Array, s: Array) -> tuple[Array]:
    assert dy.shape == x.shape == s.shape  # kernels do not look where they read and write
    dx = workspace.empty(x.shape)
    _backward(dy.reshape(-1), x.reshape(-1), s.reshape(-1), dx.reshape(-1), threads())
    return (dx,)


@jit(inline=True)
def gelu_tanh_sigmoid(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """s of one number."""
    u = np.float32(_TWICE_SQRT_2_OVER_PI) * x * (np.float32(1) + np.float32(_CUBIC) * x * x)
    return np.float32(1) / (np.float32(1) + exp(-u))


@jit(inline=True)
def gelu_tanh_slope(x, s):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """dy/dx of one number."""
    du = np.float32(_TWICE_SQRT_2_OVER_PI) * (np.float32(1) + np.float32(3 * _CUBIC) * x * x)
    return s * (np.float32(1) + x * (np.float32(1) - s) * du)


@jit(parallel=True)
def _forward(x: In1, y: Out1, s: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        own_x, own_y, own_s = x[first:last], y[first:last], s[first:last]
        for i in range(own_x.shape[0]):
            own_s[i] = gelu_tanh_sigmoid(own_x[i])
            own_y[i] = own_x[i] * own_s[i]


@jit(parallel=True)
def _backward(dy: In1, x: In1, s: In1, dx: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        own_dy, own_x, own_s, own_dx = dy[first:last], x[first:last], s[first:last], dx[first:last]
        for i in range(own_x.shape[0]):
            own_dx[i] = own_dy[i] * gelu_tanh_slope(own_x[i], own_s[i])


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh}
