"""Dropout: zero each element with probability p and scale the rest. Srivastava et al. 2014, JMLR 15.

  y = x * keep / (1-p)      dx = dy * keep / (1-p)      keep[i] = (random bits i of the key) >= p * 2**32

The mask is a function of the key and the element's place alone, so every backend draws the same one, and a
checkpointed stretch draws it again.
"""

from __future__ import annotations

from autograd import Op, Tensor
from autograd.backends import Array
from autograd.ops import where
from autograd.random import current_stream, random_bits
from minillm.module import Module


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, int], like: Array) -> Array:
    """Booleans of `shape`, False with probability p (to within 2**-32)."""
    return random_bits(shape, key, like) >= int(p * 2**32)


def dropout_forward(x: Array, *, p: float, key: tuple[int, int]) -> tuple[Array, tuple[Array, float]]:
    """x of any shape, 0 <= p < 1, key (seed, call) of the mask -> y of x's shape."""
    keep = keep_mask(x.shape, p, key, x)  # of x's shape
    return x * keep * (1 / (1 - p)), (keep, p)


def dropout_backward(dy: Array, keep: Array, p: float) -> tuple[Array]:
    return (dy * keep * (1 / (1 - p)),)


dropout = Op(dropout_forward, dropout_backward)


@dropout.composition
def dropout_composed(x: Tensor, *, p: float, key: tuple[int, int]) -> Tensor:
    keep = keep_mask(x.shape, p, key, x.data)  # of x's shape
    return where(keep, x / (1 - p), 0)


class Dropout(Module):
    """Drops while training, with a new mask of the current random stream on each call."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        return dropout(x, p=self.p, key=current_stream().next_key()) if self.training and self.p else x
