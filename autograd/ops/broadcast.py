"""What the gradient of a broadcast input needs: summing back to the input's shape."""

from __future__ import annotations

from autograd.backends import Array


def shape_of(x: object) -> tuple[int, ...]:
    """Shape of an array, or () of a Python number."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum `dy` over the axes along which an input of `shape` was repeated to reach dy's shape."""
    axes = repeated_axes(shape, dy.shape)
    return dy.sum(axes).reshape(shape) if axes else dy


def repeated_axes(shape: tuple[int, ...], broadcast: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of the shape `broadcast` along which an array of `shape` is repeated to reach it."""
    new_axes = len(broadcast) - len(shape)
    repeated = [new_axes + i for i, n in enumerate(shape) if n == 1 and broadcast[new_axes + i] != 1]
    return (*range(new_axes), *repeated)
