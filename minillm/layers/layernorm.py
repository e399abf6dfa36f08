"""Layer normalisation over the last axis. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

mean = E[x]    rstd = 1/sqrt(E[(x-mean)^2] + eps)    xhat = (x-mean)*rstd    y = xhat*weight + bias
dbias = sum_rows dy     dweight = sum_rows dy*xhat     dxhat = dy*weight
dx = rstd * (dxhat - E[dxhat] - xhat*E[dxhat*xhat])          the two means: through mean, through rstd
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
from minillm.module import Dtype, Module, Parameter


def layernorm_forward(
    x: Array, weight: Array, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, tuple[Array, Array, Array, Array, Array | None]]:
    """x (..., C), weight (C,), bias (C,) or None -> y (..., C)."""
    mean = x.mean(-1, keepdims=True)  # (..., 1)
    xc = x - mean  # (..., C)
    rstd = 1 / np.sqrt((xc * xc).mean(-1, keepdims=True) + eps)  # (..., 1)
    y = xc * rstd * weight  # (..., C)
    if bias is not None:
        y += bias
    return y, (x, mean, rstd, weight, bias)


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
    xc = x - x.mean(-1, keepdims=True)  # (..., C)
    variance = (xc**2).mean(-1, keepdims=True)  # (..., 1)
    y = xc / (variance + eps).sqrt() * weight  # (..., C)
    return y if bias is None else y + bias


class LayerNorm(Module):
    """weight of ones and bias of zeros, both (d_model,); without bias as an option."""

    def __init__(self, d_model: int, *, bias: bool = True, eps: float = 1e-5, dtype: Dtype) -> None:
        self.weight = Parameter(np.ones(d_model, dtype), "vector")
        self.bias = Parameter(np.zeros(d_model, dtype), "vector") if bias else None
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:  # (..., d_model) -> (..., d_model)
        return layernorm(x, self.weight, self.bias, eps=self.eps)
