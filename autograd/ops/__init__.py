"""Primitive operations: forward and hand-written backward side by side, in NumPy functions that CuPy arrays answer."""

from autograd.ops.elementwise import (
    add,
    divide,
    exp,
    log,
    multiply,
    negative,
    power,
    sqrt,
    subtract,
    tanh,
    where,
)
from autograd.ops.index import getitem
from autograd.ops.linalg import matmul
from autograd.ops.reduce import reduce_max, reduce_mean, reduce_sum, softmax
from autograd.ops.shape import broadcast_to, cast, concatenate, reshape, transpose
from autograd.ops.special import erf

__all__ = [
    "add",
    "broadcast_to",
    "cast",
    "concatenate",
    "divide",
    "erf",
    "exp",
    "getitem",
    "log",
    "matmul",
    "multiply",
    "negative",
    "power",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "reshape",
    "softmax",
    "sqrt",
    "subtract",
    "tanh",
    "transpose",
    "where",
]
