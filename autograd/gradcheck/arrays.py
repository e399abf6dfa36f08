"""Arrays under check: what is one, where it lies, and how it is moved by a rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import backends
from autograd.backends import Array, to_host
from autograd.gradcheck.tolerance import EPS

JITTER_ULPS = 8  # numbers are moved by up to this many roundings: by one, most would fall back on themselves


def is_float(x: object) -> bool:
    """Whether x is an array of floating-point numbers, of any library."""
    return hasattr(x, "dtype") and hasattr(x, "shape") and x.dtype.kind == "f"


def to_dtype(x: Any, dtype: str) -> Any:
    """A floating-point array as a read-only host array of `dtype`; anything else as it is.

    Of the same dtype, it is a view: the memory layout is the caller's.
    """
    if not is_float(x):
        return x
    array = to_host(x)
    return read_only(array if array.dtype == dtype else array.astype(dtype))


def to_device(x: Any) -> Any:
    """A host array on the active backend; anything else as it is."""
    return backends.active().to_device(x) if isinstance(x, np.ndarray) else x


def read_only(x: Any) -> Any:
    """A view of a host array through which nothing can be written; an array of a GPU as it is."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def jitter(x: Any, rng: np.random.Generator) -> Any:
    """A floating-point array with each number moved by up to `JITTER_ULPS` roundings; anything else as it is."""
    if not is_float(x):
        return x
    ulps = backends.backend_of(x).to_device(np.asarray(rng.uniform(-JITTER_ULPS, JITTER_ULPS, x.shape)))
    moved = (x * (1 + EPS.get(str(x.dtype), 0.0) * ulps)).astype(x.dtype)
    return read_only(np.asarray(moved) if isinstance(x, np.ndarray) else moved)  # an array also where it is 0-d


def upstream(y: Array, rng: np.random.Generator) -> Array:
    """A random dy for y, read-only: with ones, a gradient that is summed over the wrong axis can pass."""
    dy: Array = read_only(np.asarray(rng.standard_normal(y.shape), y.dtype))
    return dy
