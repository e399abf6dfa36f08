"""e^x for kernels, and softmax with it: of float32, out of operations that a CPU does on many numbers at once.

e^x = 2^n * e^r, where n is the integer nearest to x / ln 2 and r = x - n ln 2, at most ln(2)/2 from zero. A polynomial
gives e^r, and n in the place of a float's exponent is 2^n. Constants of Cephes' expf (Moshier 1992).

A loop is compiled to such operations where its index counts from 0 along an array or a slice, `for j in
range(row.shape[0])`. Where it may be negative for all that the compiler knows, as in `range(first, last)`, it is not.
"""

from __future__ import annotations

import numpy as np

from autograd.jit import jit


@jit(inline=True)
def exp(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """e^x: 0 below -87.68, where float32 has few digits left, and infinity above 88.37."""
    x = min(max(x, np.float32(-88)), np.float32(88.8))
    exponent = np.int32(x * np.float32(1.4426950408889634) + np.float32(127.5))  # n + 127, as a float has it; >= 0
    n = np.float32(exponent) - np.float32(127)
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)  # ln 2 in two parts: the first has few bits
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * (r * r) + r + np.float32(1)) * np.int32(exponent << np.int32(23)).view(np.float32)


@jit(inline=True)
def _in_order(bits):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """Integers that are in the order of the floats of these bits, NaN above all; and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@jit(inline=True)
def largest(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """The largest of x (n,), n at least 1: of integers, since of floats, where NaN counts, it is taken one by one."""
    most = np.int32(-0x80000000)
    for j in range(x.shape[0]):
        most = max(most, _in_order(np.float32(x[j]).view(np.int32)))
    return np.int32(_in_order(most)).view(np.float32)


@jit(inline=True)
def softmax_row(x):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """x (n,) becomes its softmax, n at least 1; returns ln(sum of e^x) as two parts, the largest x and the rest.

    In one array: loops over two, which may overlap for all that the compiler knows, go element by element.
    A NaN, an infinity or nothing but -infinity makes all of it NaN, as in NumPy.
    """
    shift, total = largest(x), np.float32(0)
    for j in range(x.shape[0]):
        x[j] = exp(x[j] - shift)
        total += x[j]
    for j in range(x.shape[0]):
        x[j] /= total
    return shift, np.log(total)
