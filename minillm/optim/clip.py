"""Clipping of gradients by their global norm. Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063.

norm = sqrt(sum of g^2 over all gradients)      scale = min(1, max_norm / (norm + 1e-6))
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autograd import backends
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import In1, Int, OutDouble1, jit, prange, share
from autograd.kernel import Kernel
from minillm.optim.chunks import chunks


def global_norm(grads: Iterable[Array]) -> Array:
    """The Euclidean norm () of all of `grads` together, each (n,), in float64 and on their device.

    In float32 the squares would overflow from 1.8e19 on, and a long sum lose digits.
    """
    total = np.float64(0)
    for g in grads:
        total = total + squares.on(backends.name_of(g))(g)
    norm: Array = np.sqrt(total)
    return norm


def sum_of_squares(g: Array) -> Array:
    """The sum () of the squares of g (n,), in float64."""
    total = np.float64(0)
    for part in chunks(len(g), like=g):
        wide = g[part].astype(np.float64)  # (chunk,)
        total = total + np.dot(wide, wide)  # ()
    return total  # type: ignore[return-value]  # a number of NumPy's, or an array of the device


def sum_of_squares_numba(g: Array) -> Array:
    parts = np.empty(threads())  # of each thread's share
    _squares(g, parts, len(parts))
    total: Array = parts.sum()
    return total


@jit(inline=True)
def squares_of(g):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    total = np.float64(0)
    for i in range(g.shape[0]):
        total += np.float64(g[i]) * np.float64(g[i])
    return total


@jit(parallel=True)
def _squares(g: In1, parts: OutDouble1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, g.shape[0])
        parts[t] = squares_of(g[first:last])


squares = Kernel(sum_of_squares)
squares.add("numba", sum_of_squares_numba)


def clip_scale(norm: float, max_norm: float) -> float:
    """What to multiply gradients of this norm with so that it is at most `max_norm`, as PyTorch does.

    A norm that is not finite gives NaN: no multiple of such gradients is of use, and a caller that goes on regardless
    must not get weights that look sound.
    """
    if not np.isfinite(norm):
        return float("nan")
    return min(1.0, max_norm / (norm + 1e-6))
