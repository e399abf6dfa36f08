"""How large an array is, in one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd.backends import Array


def norm(array: Array) -> float:
    """Square root of the sum of squares, in double precision, since squares of fp16 overflow at 256.

    Of an array of any backend, shape and dtype of numbers.
    """
    wide: Any = np.complex128 if array.dtype.kind == "c" else np.float64
    return float(np.linalg.norm(array.ravel().astype(wide)))
