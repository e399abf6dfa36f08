"""Arithmetic and functions of one element, with NumPy's broadcasting.

  add       y = a + b      da = dy            db = dy
  subtract  y = a - b      da = dy            db = -dy
  multiply  y = a * b      da = dy * b        db = dy * a
  divide    y = a / b      da = dy / b        db = -dy * y / b
  negative  y = -x         dx = -dy
  power     y = x**n       dx = dy * n * x**(n-1)         n a number
  exp       y = e**x       dx = dy * y
  log       y = ln x       dx = dy / x
  sqrt      y = sqrt x     dx = dy / (2 y)
  tanh      y = tanh x     dx = dy * (1 - y**2)
  where     y = a if condition else b      da = dy where condition      db = dy where not

A gradient of a broadcast input is summed back to the input's shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_sum
from autograd.jit import In1, Int, Out1, jit, prange, share
from autograd.op import Op
from autograd.ops.broadcast import repeated_axes, shape_of, unbroadcast

Saved = tuple[Any, ...]


def add_forward(a: Array, b: Array) -> tuple[Array, Saved]:
    return a + b, (shape_of(a), shape_of(b))


def add_backward(dy: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> tuple[Array, Array]:
    return unbroadcast(dy, a_shape), unbroadcast(dy, b_shape)


def subtract_forward(a: Array, b: Array) -> tuple[Array, Saved]:
    return a - b, (shape_of(a), shape_of(b))


def subtract_backward(dy: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> tuple[Array, Array]:
    return unbroadcast(dy, a_shape), unbroadcast(-dy, b_shape)


def multiply_forward(a: Array, b: Array) -> tuple[Array, Saved]:
    return a * b, (a, b)


def multiply_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return unbroadcast(dy * b, shape_of(a)), unbroadcast(dy * a, shape_of(b))


def divide_forward(a: Array, b: Array) -> tuple[Array, Saved]:
    y = a / b
    return y, (shape_of(a), b, y)


def divide_backward(dy: Array, a_shape: tuple[int, ...], b: Array, y: Array) -> tuple[Array, Array]:
    da = dy / b
    return unbroadcast(da, a_shape), unbroadcast(-da * y, shape_of(b))


def negative_forward(x: Array) -> tuple[Array, Saved]:
    return -x, ()


def negative_backward(dy: Array) -> tuple[Array]:
    return (-dy,)


def power_forward(x: Array, *, exponent: float) -> tuple[Array, Saved]:
    return x**exponent, (x, exponent)


def power_backward(dy: Array, x: Array, exponent: float) -> tuple[Array]:
    return (dy * (exponent * x ** (exponent - 1)),)


def exp_forward(x: Array) -> tuple[Array, Saved]:
    y = np.exp(x)
    return y, (y,)


def exp_backward(dy: Array, y: Array) -> tuple[Array]:
    return (dy * y,)


def log_forward(x: Array) -> tuple[Array, Saved]:
    return np.log(x), (x,)


def log_backward(dy: Array, x: Array) -> tuple[Array]:
    return (dy / x,)


def sqrt_forward(x: Array) -> tuple[Array, Saved]:
    y = np.sqrt(x)
    return y, (y,)


def sqrt_backward(dy: Array, y: Array) -> tuple[Array]:
    return (dy / (2 * y),)


def tanh_forward(x: Array) -> tuple[Array, Saved]:
    y = np.tanh(x)
    return y, (y,)


def tanh_backward(dy: Array, y: Array) -> tuple[Array]:
    return (dy * (1 - y * y),)


def where_forward(condition: Array, a: Array, b: Array) -> tuple[Array, Saved]:
    return np.where(condition, a, b), (condition, shape_of(a), shape_of(b))


def where_backward(
    dy: Array, condition: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]
) -> tuple[None, Array, Array]:
    return None, unbroadcast(np.where(condition, dy, 0), a_shape), unbroadcast(np.where(condition, 0, dy), b_shape)


add = Op(add_forward, add_backward)
subtract = Op(subtract_forward, subtract_backward)
multiply = Op(multiply_forward, multiply_backward)
divide = Op(divide_forward, divide_backward)
negative = Op(negative_forward, negative_backward)
power = Op(power_forward, power_backward)
exp = Op(exp_forward, exp_backward)
log = Op(log_forward, log_backward)
sqrt = Op(sqrt_forward, sqrt_backward)
tanh = Op(tanh_forward, tanh_backward)
where = Op(where_forward, where_backward)


@add.fast("numba")
def add_forward_numba(a: Array, b: Array) -> tuple[Array, Saved]:
    dtypes = {getattr(x, "dtype", None) for x in (a, b)}
    if dtypes != {np.dtype("float32")}:  # numbers, integers
        return add_forward(a, b)
    if a.shape == b.shape:
        return add_numba(a, b), (a.shape, b.shape)
    return np.add(a, b, out=workspace.empty(np.broadcast_shapes(a.shape, b.shape))), (a.shape, b.shape)


def add_numba(a: Array, b: Array) -> Array:
    """a + b, of the same shape."""
    y = workspace.empty(a.shape)
    _add(a.reshape(-1), b.reshape(-1), y.reshape(-1), threads())
    return y


gradient_sum.add("numba", add_numba)


@add.fast("numba")
def add_backward_numba(dy: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> tuple[Array, ...]:
    return tuple(_sum_to(shape, dy) for shape in (a_shape, b_shape))


def _sum_to(shape: tuple[int, ...], dy: Array) -> Array:
    """What `unbroadcast` returns, out of the workspace."""
    axes = repeated_axes(shape, dy.shape)
    if not axes:
        return dy
    total = workspace.empty(shape)
    kept = [n for axis, n in enumerate(dy.shape) if axis not in axes]
    dy.sum(axes, out=total.reshape(kept))
    return total


@jit(parallel=True)
def _add(a: In1, b: In1, y: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, y.shape[0])
        own_a, own_b, own_y = a[first:last], b[first:last], y[first:last]
        for i in range(own_y.shape[0]):
            own_y[i] = own_a[i] + own_b[i]
