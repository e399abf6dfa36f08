"""Random numbers that are a function of a key and a counter, so that every backend draws the same.

Philox4x32-10 of Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
NumPy's own Philox is the 4x64 variant and CuPy's is 4x32, so neither could serve both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autograd import modes
from autograd.backends import Array

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
PIECE = 1 << 14  # blocks drawn at a time on a CPU: their words stay in its cache, in a third of the time


def philox4x32(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, ...]:
    """Ten rounds of Philox: four words of counter (uint64 arrays holding 32-bit values) to four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # 32 x 32 -> 64 bits, exact in uint64
        c0, c1, c2, c3 = (product1 >> 32) ^ c1 ^ k0, product1 & LOW, (product0 >> 32) ^ c3 ^ k1, product0 & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def random_bits(shape: tuple[int, ...], key: tuple[int, int], like: Array) -> Array:
    """Uniform 32-bit integers: element i is word i % 4 of block i // 4 of stream `key`.

    Args:
        shape: shape of the result.
        key: (seed, call): the seed of the run and the number of this draw in it, each below 2**64.
        like: an array of the backend that should hold the result.
    """
    seed, call = key
    n = math.prod(shape)
    n_blocks = (n + 3) // 4
    words = np.empty_like(like, np.uint32, shape=(n_blocks, 4))
    piece = PIECE if isinstance(like, np.ndarray) else max(n_blocks, 1)
    for first in range(0, n_blocks, piece):
        block = np.arange(first, min(first + piece, n_blocks), dtype=np.uint64, like=like)  # (piece,)
        zero = np.zeros_like(block)
        # 2**32 blocks of 4 words are more than any one array of ours holds, so one counter word is enough for them
        counter = (block, zero, zero + (call & LOW), zero + (call >> 32))
        for i, word in enumerate(philox4x32(counter, (seed & LOW, seed >> 32))):
            words[first : first + piece, i] = word
    return words.reshape(-1)[:n].reshape(shape)


@dataclass
class Stream:
    """A seed and the number of draws made so far: all the state there is, so that it can be saved and replayed."""

    seed: int
    calls: int = 0

    def next_key(self) -> tuple[int, int]:
        """The key of the next draw."""
        self.calls += 1
        return self.seed, self.calls - 1


def current_stream() -> Stream:
    """The stream of this context. Where none was chosen with `use_stream`, one with seed 0 begins."""
    stream = modes.random_stream.get()
    if stream is None:
        stream = Stream(seed=0)
        modes.random_stream.set(stream)
    return stream
