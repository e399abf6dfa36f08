"""How far two computations of one gradient may lie apart: the one table of tolerances, by dtype.

A gradient is a sum of terms dy_j * dy_j/dx_i, and each rounding changes a term by at most eps of its size. Summed in
floating point, n such terms lie within n * eps of their summed sizes, and near sqrt(n) * eps when the roundings are
unrelated (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2). Where a backward subtracts large
numbers that nearly cancel, its terms do not show it. The subject's noise does: how much the gradient moves when
every number it is computed from moves by a rounding.
"""

from __future__ import annotations

import math

import numpy as np

from autograd.backends import Array

EPS = {"float64": 2.0**-52, "float32": 2.0**-23}  # the dtypes that can be checked, and their spacing at 1
SAFETY = 64  # the noise is the largest of a few random draws, and some roundings go the same way
SETTLED = 1e-8  # an extrapolation whose error estimate, relative to the terms, is above this searches for better steps
COARSE = 1e-4  # one whose error estimate is still above this decides nothing
SAME_PATTERN = 1e-5  # two gradients alike to this, relative to their largest element, count as equal in a diagnosis


def allowed(dtype: str, n_terms: int, magnitude: Array | float, noise: Array | float) -> Array:
    """The largest difference that rounding explains.

    Args:
        dtype: the one the gradient was computed in, a key of `EPS`.
        n_terms: how many terms each element sums.
        magnitude: sum of the terms' absolute values.
        noise: change of the element when the numbers it is computed from move by a rounding.
    """
    bound: Array = np.asarray(SAFETY * (EPS[dtype] * math.sqrt(max(n_terms, 1)) * magnitude + noise))
    return bound


def resolution(dtype: str, dy: Array, y: Array, noise: Array) -> float:
    """Slopes that are too small to be seen: over a step of 1 they change y by less than its own rounding.

    Args:
        dtype: the one y was computed in.
        noise: what rounding does to y beyond its last digit, where it is a small rest of large numbers.
    """
    return float((np.abs(dy) * (EPS[dtype] * np.abs(y) + noise)).sum())
