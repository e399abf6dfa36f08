"""What the gradient of a broadcast input needs: summing back to the input's shape."""

from __future__ import annotations

from autograd.backends import Array


def shape_of(x: object) -> tuple[int, ...]:
    """Shape of an array, or () of a Python number."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum `dy` over the axes along which an input of `shape` was repeated to reach dy's shape."""
    new_axes = dy.ndim - len(shape)
    repeated = [new_axes + i for i, n in enumerate(shape) if n == 1 and dy.shape[new_axes + i] != 1]
    axes = (*range(new_axes), *repeated)
    return dy.sum(axes).reshape(shape) if axes else dy
