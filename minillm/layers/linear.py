"""Linear layer: the same affine map for each row.

y = x @ weight^T + bias
dx = dy @ weight      dweight = dy^T @ x      dbias = sum_rows dy
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
from minillm.module import Dtype, Module, Parameter


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
    y = x @ weight.transpose()  # (..., out)
    return y if bias is None else y + bias


class Linear(Module):
    """`y = x @ weight^T + bias`, weight (d_out, d_in) drawn from N(0, std), bias zero."""

    def __init__(
        self, d_in: int, d_out: int, *, bias: bool = True, std: float = 0.02, rng: np.random.Generator, dtype: Dtype
    ) -> None:
        self.weight = Parameter(std * rng.standard_normal((d_out, d_in), dtype), "weight")
        self.bias = Parameter(np.zeros(d_out, dtype), "vector") if bias else None

    def __call__(self, x: Tensor) -> Tensor:  # (..., d_in) -> (..., d_out)
        return linear(x, self.weight, self.bias)
