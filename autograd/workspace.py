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


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """A C-contiguous array of any values, in a block that was used before if one of this size is free."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < SMALLEST:
        return np.empty(shape, dtype)
    block = _referred_to(_blocks[n_bytes], _FREE)
    if block is None:
        block = np.empty(n_bytes, np.uint8)
        _blocks[n_bytes].append(block)
    view: Array = block.view(dtype).reshape(shape)
    return view


def zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """The same, all zero."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def _referred_to(blocks: list[Array], n: int) -> Array | None:
    """The first block with n references to it, by this function's own count."""
    for block in blocks:
        if sys.getrefcount(block) == n:
            return block
    return None


# to a block that no array lies in: the list's, the loop's and, up to Python 3.13, that of the call which counts
_FREE = next(n for n in range(1, 4) if _referred_to([np.empty(0)], n) is not None)


def clear() -> None:
    """Let go of every block; those that arrays lie in live on with them."""
    _blocks.clear()
