"""What a mutant calls where a bug takes more than another expression. A mutant imports these by itself."""

from __future__ import annotations

from typing import Any

import numpy as np


def rolled(x: Any) -> Any:
    """The values of array x one place on, along its last axis longer than 1; what has no such axis as it is."""
    shape = getattr(x, "shape", ())
    axes = [i for i, n in enumerate(shape) if n > 1]
    return np.roll(x, 1, axes[-1]) if axes else x


def first_slice(x: Any, axis: Any = None, *_: Any, keepdims: bool = False) -> Any:
    """`x.sum(axis)` where only the first element of each sum is counted: what overwriting leaves."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    summed = {a % x.ndim for a in axes}
    place: list[Any] = [slice(None)] * x.ndim
    for a in summed:
        place[a] = slice(0, 1) if keepdims else 0
    return x[tuple(place)]
