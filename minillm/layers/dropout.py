"""Dropout: zero each element with probability p and scale the rest. Srivastava et al. 2014, JMLR 15.

  y = x * keep / (1-p)      dx = dy * keep / (1-p)      keep[i] = (random bits i of the key) >= p * 2**32

The mask is a function of the key and the element's place alone, so every backend draws the same one, a checkpointed
stretch draws it again, and so does backward, for which none is kept.
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Float, Ids1, In1, Int, Out1, Out2, jit, prange, share
from autograd.jit_random import SPARE, draw_of, keep_row
from autograd.ops import where
from autograd.random import current_stream, random_bits
from minillm.module import Module

TILE = 1024  # elements whose random numbers are there at a time, on each thread: they stay in its cache


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, int], like: Array) -> Array:
    """Booleans of `shape`, False with probability p (to within 2**-32)."""
    return random_bits(shape, key, like) >= int(p * 2**32)


def dropout_forward(x: Array, *, p: float, key: tuple[int, int]) -> tuple[Array, tuple[float, tuple[int, int]]]:
    """x of any shape, 0 <= p < 1, key (seed, call) of the mask -> y of x's shape."""
    return x * keep_mask(x.shape, p, key, x) * (1 / (1 - p)), (p, key)


def dropout_backward(dy: Array, p: float, key: tuple[int, int]) -> tuple[Array]:
    return (dy * keep_mask(dy.shape, p, key, dy) * (1 / (1 - p)),)


dropout = Op(dropout_forward, dropout_backward)


@dropout.fast("numba")
def dropout_forward_numba(x: Array, *, p: float, key: tuple[int, int]) -> tuple[Array, tuple[float, tuple[int, int]]]:
    return _dropped(x, p, key), (p, key)


@dropout.fast("numba")
def dropout_backward_numba(dy: Array, p: float, key: tuple[int, int]) -> tuple[Array]:
    return (_dropped(dy, p, key),)


def _dropped(x: Array, p: float, key: tuple[int, int]) -> Array:
    y, n = workspace.empty(x.shape), threads()
    _drop(x.reshape(-1), draw_of(key, p), 1 / (1 - p), y.reshape(-1), np.empty((n, TILE + SPARE), np.float32), n)
    return y


@jit(parallel=True)
def _drop(x: In1, draw: Ids1, scale: Float, y: Out1, words: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for start in range(first, last, words.shape[1] - SPARE):
            stop = min(start + words.shape[1] - SPARE, last)
            own_x, own_y = x[start:stop], y[start:stop]
            keep = keep_row(draw, scale, start, own_x.shape[0], words[t])
            for i in range(own_y.shape[0]):
                own_y[i] = own_x[i] * keep[i]


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
