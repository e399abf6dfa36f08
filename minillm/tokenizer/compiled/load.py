"""Eight bytes at a time, for kernels."""

from __future__ import annotations

import numpy as np

from autograd.jit import Bytes1, jit

# Kernels that hash count in uint64, which wraps. A Python int among them would make numba's result a float64.
U = np.uint64
BYTE = U(8)  # bits


@jit(inline=True)
def load8(data: Bytes1, place: int) -> np.uint64:
    """data[place : place + 8] as a number, the first byte lowest. Not checked: data must go so far.

    Compiled to one instruction, since the index is unsigned: a signed one could count from the end, eight times.
    """
    at = U(place)
    value = U(data[at])
    value |= U(data[at + U(1)]) << U(8)
    value |= U(data[at + U(2)]) << U(16)
    value |= U(data[at + U(3)]) << U(24)
    value |= U(data[at + U(4)]) << U(32)
    value |= U(data[at + U(5)]) << U(40)
    value |= U(data[at + U(6)]) << U(48)
    value |= U(data[at + U(7)]) << U(56)
    return value
