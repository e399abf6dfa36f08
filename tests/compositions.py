"""Each primitive out of other primitives, so that its gradient has a second derivation. Layers carry their own.

Where two are each other's formula (add and subtract), a wrong gradient in one still differs from the other's. log and
erf are quadratures of the integrals that define them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from autograd import Op, Tensor

Axes = int | tuple[int, ...] | None


def composition_of(name: str) -> Callable[..., Tensor]:
    """The composition of a registered op: its own, or the one in this file."""
    return Op.registry[name].composed or COMPOSITIONS[name]


def where(condition: Any, a: Any, b: Any) -> Tensor:
    y: Tensor = b + condition * (a - b)
    return y


def power(x: Tensor, *, exponent: float) -> Tensor:
    return x * x if exponent == 2 else (exponent * x.log()).exp()  # a logarithm needs a positive base


def exp(x: Tensor) -> Tensor:
    t = (x / 2).tanh()
    return (1 + t) / (1 - t)


def tanh(x: Tensor) -> Tensor:
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


def log(x: Tensor) -> Tensor:
    """Integral of (x-1) / (1 + s (x-1)) over s from 0 to 1."""
    return _integral(lambda s: (x - 1) / (1 + s * (x - 1)), n=24)


def erf(x: Tensor) -> Tensor:
    """2/sqrt(pi) times the integral of x exp(-(s x)^2) over s from 0 to 1."""
    return 2 / math.sqrt(math.pi) * _integral(lambda s: x * (-((s * x) ** 2)).exp(), n=64)


def _integral(f: Callable[[float], Tensor], n: int) -> Tensor:
    """Integral of f from 0 to 1 by Gauss and Legendre's rule with n points."""
    points, weights = np.polynomial.legendre.leggauss(n)
    terms = [w / 2 * f((s + 1) / 2) for s, w in zip(points.tolist(), weights.tolist(), strict=True)]
    return sum(terms[1:], terms[0])


def reduce_sum(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Product of the rows to be summed with a column of ones."""
    axes = _axes(x, axis)
    others = [i for i in range(x.ndim) if i not in axes]
    n = math.prod(x.shape[i] for i in axes)
    rows = x.transpose(*others, *axes).reshape(-1, n)  # (..., n)
    shape = [1 if i in axes else x.shape[i] for i in range(x.ndim) if keepdims or i not in axes]
    return (rows @ np.ones(n, rows.dtype)).reshape(*shape)


def reduce_mean(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    return x.sum(axis, keepdims) / math.prod(x.shape[i] for i in _axes(x, axis))


def reduce_max(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean of the elements that equal the maximum, so that ties share its gradient."""
    at_max = x.data == x.data.max(axis, keepdims=True)
    ties = at_max.sum(axis, x.dtype, keepdims=keepdims)
    y: Tensor = (x * at_max).sum(axis, keepdims) / ties
    return y


def _axes(x: Tensor, axis: Axes) -> list[int]:
    every = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return [a % x.ndim for a in every]


def reshape(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x[np.unravel_index(np.arange(x.size).reshape(shape), x.shape)]


def transpose(x: Tensor, *, axes: tuple[int, ...] | None = None) -> Tensor:
    return x[np.unravel_index(np.arange(x.size).reshape(x.shape).transpose(axes), x.shape)]


def getitem(x: Tensor, *, index: Any) -> Tensor:
    return _selected(x, np.arange(x.size).reshape(x.shape)[index])


def concatenate(*xs: Tensor, axis: int = 0) -> Tensor:
    """Sum of the inputs, each spread over the whole result with zeros in the others' places."""
    ends = np.cumsum([x.size for x in xs])
    numbers = [np.arange(end - x.size, end).reshape(x.shape) for x, end in zip(xs, ends, strict=True)]
    places = np.concatenate(numbers, axis)
    spread = [_selected(x, places - (end - x.size)) for x, end in zip(xs, ends, strict=True)]
    return sum(spread[1:], spread[0])


def _selected(x: Tensor, places: Any) -> Tensor:
    """Element `places[...]` of x, counted in C order, as a product with a matrix of 0 and 1; 0 where out of range."""
    matrix = (np.reshape(places, (-1, 1)) == np.arange(x.size)).astype(x.data.real.dtype)  # (places.size, x.size)
    return (matrix @ x.reshape(-1)).reshape(*np.shape(places))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    a2 = a[None] if a.ndim == 1 else a  # (..., n, k)
    b2 = b[:, None] if b.ndim == 1 else b  # (..., k, m)
    y = (a2[..., :, :, None] * b2[..., None, :, :]).sum(-2)  # (..., n, m)
    if b.ndim == 1:
        y = y[..., 0]  # (..., n)
    return y if a.ndim > 1 else y[..., 0] if b.ndim == 1 else y[..., 0, :]


COMPOSITIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda a, b: a - (-b),
    "subtract": lambda a, b: a + (-b),
    "multiply": lambda a, b: ((a + b) ** 2 - (a - b) ** 2) / 4,
    "divide": lambda a, b: a * b**-1,
    "negative": lambda x: x * -1,
    "sqrt": lambda x: x**0.5,
    "broadcast_to": lambda x, *, shape: x * np.ones(shape, x.data.real.dtype),
    "cast": lambda x, *, dtype: x * np.ones((), dtype),  # to a wider dtype only
    **{f.__name__: f for f in (where, power, exp, tanh, log, erf, reduce_sum, reduce_mean, reduce_max)},
    **{f.__name__: f for f in (reshape, transpose, getitem, concatenate, matmul)},
}
