"""Walking through a flat buffer in pieces whose temporaries stay in a core's cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autograd.backends import Array

CHUNK = 1 << 16  # elements: 256 KiB of float32


def chunks(n: int, like: Array) -> Iterator[slice]:
    """Slices that cover n elements in order; on a GPU it is one, since there each costs a kernel launch."""
    size = CHUNK if isinstance(like, np.ndarray) else max(n, 1)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
