"""Functions of one float32 for kernels, out of operations that a CPU does on many numbers at once.

e^x = 2^n * e^r, where n is the integer nearest to x / ln 2 and r = x - n ln 2, at most ln(2)/2 from zero. A polynomial
gives e^r - 1, and n in the place of a float's exponent is 2^n. Constants of Cephes' expf (Moshier 1992).

A loop is compiled to such operations where its index counts from 0 along an array or a slice, `for j in
range(row.shape[0])`. Where it may be negative for all that the compiler knows, as in `range(first, last)`, it is not.
"""

from __future__ import annotations

import numpy as np

from autograd.jit import jit


@jit(inline=True)
def _exp_parts(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """2^n and e^r - 1 for x from -88, where 2^n is 0 from -87.68 down, to 88.8, where it is infinite from 88.37 up."""
    exponent = np.int32(x * np.float32(1.4426950408889634) + np.float32(127.5))  # n + 127, as a float has it; >= 0
    n = np.float32(exponent) - np.float32(127)
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)  # ln 2 in two parts: the first has few bits
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return np.int32(exponent << np.int32(23)).view(np.float32), p * (r * r) + r


@jit(inline=True)
def exp(x):  # type: ignore[no-untyped-def]
    """e^x: 0 below -87.68, where float32 has few digits left, and infinity above 88.37."""
    power, rest = _exp_parts(min(max(x, np.float32(-88)), np.float32(88.8)))
    return power * (np.float32(1) + rest)


@jit(inline=True)
def tanh(x):  # type: ignore[no-untyped-def]
    """tanh x = (e^2x - 1) / (e^2x + 1). e^2x - 1 is put together so that small x keep their digits."""
    power, rest = _exp_parts(min(max(np.float32(2) * x, np.float32(-20)), np.float32(20)))  # 1 in float32 beyond
    less_one = power * rest + (power - np.float32(1))  # e^2x - 1
    return less_one / (less_one + np.float32(2))
