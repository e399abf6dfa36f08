"""Large arrays used again: after the first training step, none has to be asked of the system.

A block is free when no array lies in it any more, which Python's reference count of the block tells: every view of it
holds one. So nobody hands a block back, and none is reused while a saved array, a gradient or a user still has it.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from typing import Any

import numpy as np

from autograd.backends import Array

SMALLEST = 1 << 16  # bytes; smaller arrays are as quick to make

_blocks: defaultdict[int, list[Array]] = defaultdict(list)  # by their size in bytes
_FREE = 3  # references to a block that no array lies in: the list's, the loop's, getrefcount's own


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """A C-contiguous array of any values, in a block that was used before if one of this size is free."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < SMALLEST:
        return np.empty(shape, dtype)
    for block in _blocks[n_bytes]:
        if sys.getrefcount(block) == _FREE:
            return _as(block, dtype, shape)
    block = np.empty(n_bytes, np.uint8)
    _blocks[n_bytes].append(block)
    return _as(block, dtype, shape)


def _as(block: Array, dtype: Any, shape: tuple[int, ...]) -> Array:
    view: Array = block.view(dtype).reshape(shape)
    return view


def clear() -> None:
    """Let go of every block; those that arrays lie in live on with them."""
    _blocks.clear()
