"""Random numbers for kernels: the words of `autograd.random`, drawn where they are used.

Words are 64-bit integers that hold 32 bits, as in the reference: a CPU multiplies many such numbers at once, exactly.
"""

from __future__ import annotations

import numpy as np

from autograd.backends import Array
from autograd.jit import jit
from autograd.random import LOW, MULTIPLIERS, WEYL

SPARE = 6  # words of blocks that begin before a row, or end behind it
_M0, _M1, _W0, _W1, _LOW, _HALF = map(np.uint64, (*MULTIPLIERS, *WEYL, LOW, 32))


def draw_of(key: tuple[int, int], p: float) -> Array:
    """What `keep_row` is told, integers (5,): the four words of the key, and the bits below which p of all lie."""
    seed, call = key
    return np.array([seed & LOW, seed >> 32, call & LOW, call >> 32, int(p * 2**32)], np.int64)


@jit(inline=True)
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """`autograd.random.philox4x32` of one block: four words of counter and two of key, all uint64."""
    for _ in range(10):
        product0, product1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW, (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit(inline=True)
def keep_row(draw, scale, first, n, words):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """Of elements `first` to `first + n`: `scale` for each that is kept, 0 for the others, (n,).

    draw is `draw_of(key, p)`; words (n + SPARE,) is scratch, of which a part is returned.
    """
    k0, k1, c2, c3, least = np.uint64(draw[0]), np.uint64(draw[1]), np.uint64(draw[2]), np.uint64(draw[3]), draw[4]
    block, dropped = first // 4, np.float32(0)
    for i in range((first + n + 3) // 4 - block):
        w0, w1, w2, w3 = philox(np.uint64(block + i), np.uint64(0), c2, c3, k0, k1)
        words[4 * i] = scale if np.int64(w0) >= least else dropped
        words[4 * i + 1] = scale if np.int64(w1) >= least else dropped
        words[4 * i + 2] = scale if np.int64(w2) >= least else dropped
        words[4 * i + 3] = scale if np.int64(w3) >= least else dropped
    return words[first - 4 * block : first - 4 * block + n]
