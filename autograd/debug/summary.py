"""An array in one line: shape, dtype, norm, range, and how many of its numbers are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd.backends import Array, to_host

_N_FIRST = 5
_PART = 1 << 14  # elements in float64 at a time: a summary takes little memory, however large the array


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
    @np.errstate(all="ignore")
    def of(cls, array: Any) -> Summary:
        """Of an array of any backend, dtype and shape, or of a number."""
        a = to_host(array)
        first = tuple(np.asarray(a.flat[:_N_FIRST]).tolist())
        n = n_nan = n_inf = 0
        low, high, scale = math.inf, -math.inf, _scale(a)
        mean = deviations = 0.0  # of what is divided by scale: sum (x - mean)^2
        for values in _parts(a):
            finite = np.isfinite(values)  # (at most _PART,)
            if not finite.all():
                n_nan += int(np.isnan(values).sum())
                n_inf += int(np.isinf(values).sum())
                values = values[finite]
            if not values.size:
                continue
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            scaled = values if scale == 1 else values / scale
            own_mean = float(scaled.mean())
            off = scaled - own_mean
            # of two parts together: Chan, Golub & LeVeque 1979
            part, n = len(scaled) / (n + len(scaled)), n + len(scaled)
            deviations += float((off * off).sum()) + (own_mean - mean) ** 2 * part * (n - len(scaled))
            mean += (own_mean - mean) * part
        if not n:
            low = high = mean = scale = math.nan
        norm, std = math.sqrt(deviations + n * mean * mean) * scale, math.sqrt(deviations / max(n, 1)) * scale
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
    """The values in float64, (at most _PART,) at a time, in any order; of complex numbers the magnitudes."""
    wide: Any = np.complex128 if a.dtype.kind == "c" else np.float64
    flags: Any = ["external_loop", "buffered", "zerosize_ok"]
    parts: Any = np.nditer(a, flags, ["readonly"], wide, casting="unsafe", buffersize=_PART)
    for part in parts:
        yield np.abs(part) if a.dtype.kind == "c" else part


def _scale(a: Array) -> float:
    """What to divide by, so that squares neither overflow nor vanish: those of 32 bits do not, nor do integers."""
    if a.dtype.kind not in "fc" or np.finfo(a.dtype).bits <= 32:
        return 1
    largest = max((float(np.abs(part[np.isfinite(part)]).max(initial=0)) for part in _parts(a)), default=0)
    return 1 if largest == 0 or 1e-100 < largest < 1e100 else largest
