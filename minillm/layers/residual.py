"""Rows of the residual stream: what the compiled kernels of a block's two halves have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.jit import jit

TILE = 512  # rows: more of them share one packing of the weights by BLAS; these still fit the cache of a core (L3)


def or_zeros(bias: Array | None, n: int) -> Array:
    """The bias (n,), zeros where there is none: kernels take no None."""
    return np.zeros(n, np.float32) if bias is None else bias


def assert_shapes(*layers: tuple[Any, ...]) -> None:
    """Of (weight, bias or None, *shape of the weight): kernels do not look where they read and write."""
    for weight, bias, *shape in layers:
        assert weight.shape == tuple(shape)
        assert bias is None or bias.shape == (shape[0],)


@jit(inline=True)
def residual_row(x, branch, bias, y):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """y = x + branch + bias, all (C,)."""
    for j in range(y.shape[0]):
        y[j] = x[j] + branch[j] + bias[j]


@jit(inline=True)
def add_and_normalise_row(dy, x, mean, rstd, weight, bias, dx, normed):  # type: ignore[no-untyped-def]  # as above
    """dy is added to dx, for the residual; normed = layernorm(x); all (C,)."""
    for j in range(dx.shape[0]):
        dx[j] += dy[j]
        normed[j] = (x[j] - mean) * rstd * weight[j] + bias[j]
