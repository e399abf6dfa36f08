"""The one table that gives Tensor its operators and methods."""

from __future__ import annotations

from typing import Any

from autograd import ops
from autograd.tensor import Tensor


def _shape_of(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """`x.reshape(2, 3)` and `x.reshape((2, 3))` mean the same."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


OPERATORS = {
    "__add__": lambda self, other: ops.add(self, other),
    "__radd__": lambda self, other: ops.add(other, self),
    "__sub__": lambda self, other: ops.subtract(self, other),
    "__rsub__": lambda self, other: ops.subtract(other, self),
    "__mul__": lambda self, other: ops.multiply(self, other),
    "__rmul__": lambda self, other: ops.multiply(other, self),
    "__truediv__": lambda self, other: ops.divide(self, other),
    "__rtruediv__": lambda self, other: ops.divide(other, self),
    "__matmul__": lambda self, other: ops.matmul(self, other),
    "__rmatmul__": lambda self, other: ops.matmul(other, self),
    "__pow__": lambda self, exponent: ops.power(self, exponent=exponent),
    "__neg__": lambda self: ops.negative(self),
    "__getitem__": lambda self, index: ops.getitem(self, index=index),
    "sum": lambda self, axis=None, keepdims=False: ops.reduce_sum(self, axis=axis, keepdims=keepdims),
    "mean": lambda self, axis=None, keepdims=False: ops.reduce_mean(self, axis=axis, keepdims=keepdims),
    "max": lambda self, axis=None, keepdims=False: ops.reduce_max(self, axis=axis, keepdims=keepdims),
    "reshape": lambda self, *shape: ops.reshape(self, shape=_shape_of(shape)),
    "transpose": lambda self, *axes: ops.transpose(self, axes=_shape_of(axes) or None),
    "exp": lambda self: ops.exp(self),
    "log": lambda self: ops.log(self),
    "tanh": lambda self: ops.tanh(self),
    "sqrt": lambda self: ops.sqrt(self),
    "astype": lambda self, dtype: ops.cast(self, dtype=dtype),
}

for name, function in OPERATORS.items():
    setattr(Tensor, name, function)
