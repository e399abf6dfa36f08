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

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
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


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh}
