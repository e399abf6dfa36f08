"""Operations that move elements and compute nothing.

reshape, transpose      dx = dy, moved back
broadcast_to            dx = dy, summed over the repeated axes
concatenate             dx_i = dy, cut where input i went
cast                    dx = dy in the input's dtype
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.op import Op
from autograd.ops.broadcast import unbroadcast

Saved = tuple[Any, ...]


def reshape_forward(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, Saved]:
    return x.reshape(shape), (x.shape,)


def reshape_backward(dy: Array, shape: tuple[int, ...]) -> tuple[Array]:
    return (dy.reshape(shape),)


def transpose_forward(x: Array, *, axes: tuple[int, ...] | None = None) -> tuple[Array, Saved]:
    """Axes in the order of `axes`; reversed if None, as in NumPy."""
    axes = axes or tuple(reversed(range(x.ndim)))
    return x.transpose(axes), (axes,)


def transpose_backward(dy: Array, axes: tuple[int, ...]) -> tuple[Array]:
    inverse = sorted(range(len(axes)), key=lambda i: axes[i] % len(axes))
    return (dy.transpose(inverse),)


def broadcast_to_forward(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, Saved]:
    return np.broadcast_to(x, shape), (x.shape,)


def broadcast_to_backward(dy: Array, shape: tuple[int, ...]) -> tuple[Array]:
    return (unbroadcast(dy, shape),)


def concatenate_forward(*xs: Array, axis: int = 0) -> tuple[Array, Saved]:
    return np.concatenate(xs, axis), ([x.shape[axis] for x in xs], axis)


def concatenate_backward(dy: Array, lengths: list[int], axis: int) -> tuple[Array, ...]:
    ends = np.cumsum(lengths).tolist()
    rows = dy.swapaxes(0, axis)
    return tuple(rows[end - n : end].swapaxes(0, axis) for n, end in zip(lengths, ends, strict=True))


def cast_forward(x: Array, *, dtype: Any) -> tuple[Array, Saved]:
    return x.astype(dtype), (x.dtype,)


def cast_backward(dy: Array, dtype: Any) -> tuple[Array]:
    return (dy.astype(dtype),)


reshape = Op(reshape_forward, reshape_backward)
transpose = Op(transpose_forward, transpose_backward)
broadcast_to = Op(broadcast_to_forward, broadcast_to_backward)
concatenate = Op(concatenate_forward, concatenate_backward)
cast = Op(cast_forward, cast_backward)
