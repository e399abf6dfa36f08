"""Reductions over some axes, and softmax over one.

reduce_sum    y = sum x       dx = dy, repeated
reduce_mean   y = mean x      dx = dy / n, repeated
reduce_max    y = max x       dx = dy where x is the maximum, shared equally among ties
softmax       y = exp(x - max x) / sum exp(x - max x)       dx = y * (dy - sum dy*y)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.op import Op
from autograd.tensor import Tensor

Axes = int | tuple[int, ...] | None
Saved = tuple[Any, ...]


def _kept_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """`shape` with 1 in place of the reduced axes, so that a reduced array broadcasts against the original."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    reduced = {a % len(shape) for a in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def reduce_sum_forward(x: Array, *, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Saved]:
    return x.sum(axis, keepdims=keepdims), (x.shape, axis)


def reduce_sum_backward(dy: Array, shape: tuple[int, ...], axis: Axes) -> tuple[Array]:
    return (np.broadcast_to(dy.reshape(_kept_shape(shape, axis)), shape),)


def reduce_mean_forward(x: Array, *, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Saved]:
    return x.mean(axis, keepdims=keepdims), (x.shape, axis)


def reduce_mean_backward(dy: Array, shape: tuple[int, ...], axis: Axes) -> tuple[Array]:
    kept = _kept_shape(shape, axis)
    n = np.prod(shape, dtype=int) // np.prod(kept, dtype=int)  # elements in each mean
    return (np.broadcast_to(dy.reshape(kept) / int(n), shape),)


def reduce_max_forward(x: Array, *, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Saved]:
    y = x.max(axis, keepdims=True)
    at_max = x == y
    return y if keepdims else y.reshape(x.max(axis).shape), (at_max, axis)


def reduce_max_backward(dy: Array, at_max: Array, axis: Axes) -> tuple[Array]:
    ties = at_max.sum(axis, dy.dtype, keepdims=True)  # how many share the maximum; integers would promote float32
    return (at_max * (dy.reshape(ties.shape) / ties),)


def softmax_forward(x: Array, *, axis: int = -1) -> tuple[Array, Saved]:
    e = np.exp(x - x.real.max(axis, keepdims=True))  # the shift cancels; `.real` keeps it out of a complex step
    y = e / e.sum(axis, keepdims=True)
    return y, (y, axis)


def softmax_backward(dy: Array, y: Array, axis: int) -> tuple[Array]:
    return (y * (dy - (dy * y).sum(axis, keepdims=True)),)


reduce_sum = Op(reduce_sum_forward, reduce_sum_backward)
reduce_mean = Op(reduce_mean_forward, reduce_mean_backward)
reduce_max = Op(reduce_max_forward, reduce_max_backward)
softmax = Op(softmax_forward, softmax_backward)


@softmax.composition
def softmax_composed(x: Tensor, *, axis: int = -1) -> Tensor:
    e: Tensor = (x - x.data.real.max(axis, keepdims=True)).exp()  # of x's shape; the shift is a constant
    return e / e.sum(axis, keepdims=True)
