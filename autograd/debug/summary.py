"""An array in one line: shape, dtype, norm, range, and how many of its numbers are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import backends
from autograd.backends import Array

_N_FIRST = 5
_PART = 1 << 16  # elements in float64 at a time: a summary takes little memory, however large the array


@dataclass(frozen=True, slots=True)
class Summary:
    """What an array holds, small enough to keep for every value of a pass.

    `norm` to `std` are of the finite values, computed in float64, and NaN where there is none. Of complex numbers
    they are those of their magnitudes.

    Attributes:
        shape: of the array.
        dtype: its name, such as "float32".
        norm: square root of the sum of squares.
        min: the smallest value.
        max: the largest value.
        mean: their mean.
        std: their standard deviation from it.
        n_nan: how many are NaN.
        n_inf: how many are infinite, of either sign.
        first: up to five values, in C order, as Python numbers.
    """

    shape: tuple[int, ...]
    dtype: str
    norm: float
    min: float
    max: float
    mean: float
    std: float
    n_nan: int
    n_inf: int
    first: tuple[Any, ...]

    @classmethod
    def of(cls, array: Any) -> Summary:
        """Of an array of any backend, dtype and shape, or of a number."""
        a = np.asarray(backends.backend_of(array).to_host(array))
        n = n_nan = n_inf = 0
        low, high = math.inf, -math.inf
        for values in _parts(a):
            finite = _finite(values)
            if finite.size < values.size:
                n_nan += int(np.isnan(values).sum())
                n_inf += int(np.isinf(values).sum())
            if finite.size:
                n, low, high = n + finite.size, min(low, float(finite.min())), max(high, float(finite.max()))
        first = tuple(np.asarray(a.flat[:_N_FIRST]).tolist())
        if not n:
            nan = math.nan
            return cls(a.shape, str(a.dtype), nan, nan, nan, nan, nan, n_nan, n_inf, first)
        scale = max(abs(low), abs(high)) or 1.0  # the square of a number above 1e154 would be infinite
        total = squares = deviations = 0.0
        for values in _parts(a):
            scaled = _finite(values) / scale
            total, squares = total + float(scaled.sum()), squares + float((scaled * scaled).sum())
        mean = total / n
        for values in _parts(a):
            off = _finite(values) / scale - mean
            deviations += float((off * off).sum())
        norm, std = math.sqrt(squares) * scale, math.sqrt(deviations / n) * scale
        return cls(a.shape, str(a.dtype), norm, low, high, mean * scale, std, n_nan, n_inf, first)

    def __str__(self) -> str:
        """Such as "(2, 16) float32, norm 5.1, 0.02 +- 0.9 in [-2.3, 2.5]"; NaNs and infinities come first."""
        bad = [f"{n:,} {what}" for n, what in ((self.n_nan, "nan"), (self.n_inf, "inf")) if n]
        parts = [f"{self.shape} {self.dtype}", *bad]
        if not math.isnan(self.mean):
            parts += [f"norm {self.norm:.4g}", f"{self.mean:.3g} +- {self.std:.3g} in [{self.min:.3g}, {self.max:.3g}]"]
        elif not bad:
            parts.append("empty")
        return ", ".join(parts)


def _parts(a: Array) -> Iterator[Array]:
    """The values in C order, in float64, (at most _PART,) at a time; of complex numbers the magnitudes."""
    for start in range(0, a.size, _PART):
        part = a.flat[start : start + _PART]
        with np.errstate(all="ignore"):
            yield np.abs(part.astype(np.complex128)) if a.dtype.kind == "c" else part.astype(np.float64)


def _finite(values: Array) -> Array:
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]
