"""Clipping of gradients by their global norm. Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063.

norm = sqrt(sum of g^2 over all gradients)      scale = min(1, max_norm / (norm + 1e-6))
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autograd.backends import Array
from minillm.optim.chunks import chunks


def global_norm(grads: Iterable[Array]) -> Array:
    """The Euclidean norm () of all of `grads` together, each (n,), in float64 and on their device.

    In float32 the squares would overflow from 1.8e19 on, and a long sum lose digits.
    """
    total = None
    for g in grads:
        for part in chunks(len(g), like=g):
            wide = g[part].astype(np.float64)  # (chunk,)
            square = np.dot(wide, wide)  # ()
            total = square if total is None else total + square
    norm: Array = np.sqrt(np.float64(0) if total is None else total)
    return norm


def clip_scale(norm: float, max_norm: float) -> float:
    """What to multiply gradients of this norm with so that it is at most `max_norm`, as PyTorch does.

    A norm that is not finite gives NaN: no multiple of such gradients is of use, and a caller that goes on regardless
    must not get weights that look sound.
    """
    if not np.isfinite(norm):
        return float("nan")
    return min(1.0, max_norm / (norm + 1e-6))
