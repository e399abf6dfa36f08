"""An array made small enough to show: a heat map of a few thousand cells, and a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd.backends import Array, to_host
from autograd.debug.summary import Summary

ROWS, COLUMNS = 64, 96  # most cells of a heat map
BINS = 32
_PART = 1 << 16  # elements that are counted at a time: a picture takes little memory, however large the array


@dataclass(frozen=True)
class Picture:
    """An array of any size, to be drawn.

    Attributes:
        shape: of the array.
        dtype: of the array, such as "float32".
        cells: (at most ROWS, at most COLUMNS) float32, the array with its leading axes folded into rows: of each block
            of elements the one of largest magnitude, with its sign, so that a single spike is still seen; NaN where one
            of them is not finite.
        low: smallest finite value, 0 where there is none.
        high: largest finite value, 0 where there is none.
        histogram: (BINS,) integers: how many finite values lie in each of equal parts of [low, high].
        summary: of the whole array.
    """

    shape: tuple[int, ...]
    dtype: str
    cells: Array
    low: float
    high: float
    histogram: Array
    summary: Summary

    @property
    def limit(self) -> float:
        """Largest magnitude of a finite value: what the strongest colour stands for."""
        return max(abs(self.low), abs(self.high))


def picture(array: Any, *, rows: int = ROWS, columns: int = COLUMNS) -> Picture:
    """Of an array of any backend, number of axes and dtype, or of a number; of complex numbers their magnitudes."""
    a = to_host(array)
    values = np.abs(a) if a.dtype.kind == "c" else a
    table = values.reshape(-1, a.shape[-1] if a.ndim and a.size else 1)  # (R, C)
    summary = Summary.of(a)
    low, high = (0.0, 0.0) if math.isnan(summary.min) else (summary.min, summary.max)
    return Picture(
        a.shape, str(a.dtype), _cells(table, rows, columns), low, high, _histogram(table, low, high), summary
    )


def _cells(table: Array, rows: int, columns: int) -> Array:
    """Of each block of (R, C) the element of largest magnitude -> (at most rows, at most columns)."""
    if not table.size:
        return np.zeros((0, 0), np.float32)
    tops, lefts = (_starts(n, most) for n, most in zip(table.shape, (rows, columns), strict=True))
    largest, smallest = (
        pick.reduceat(pick.reduceat(table, tops, 0), lefts, 1).astype(np.float64)  # NaN where there is one
        for pick in (np.maximum, np.minimum)
    )
    cells = np.where(largest >= -smallest, largest, smallest)
    most = np.finfo(np.float32).max
    seen = np.isfinite(largest) & np.isfinite(smallest)
    return np.where(seen, np.clip(cells, -most, most), np.nan).astype(np.float32)


def _starts(n: int, most: int) -> Array:
    """Where each of at most `most` blocks of about equal length begins."""
    n_blocks = min(n, most)
    return np.arange(n_blocks) * n // n_blocks


def _histogram(table: Array, low: float, high: float) -> Array:
    """Counts (BINS,) of the finite values over [low, high]; equal values lie in the middle.

    `np.histogram` refuses a range of a few roundings, which the mean's gradient has, and one that overflows.
    """
    counts, width = np.zeros(BINS, int), high / 2 - low / 2
    n_rows = max(_PART // max(table.shape[1], 1), 1)
    for start in range(0, len(table), n_rows):
        part = table[start : start + n_rows].astype(np.float64)
        finite = part[np.isfinite(part)]  # (n,)
        place = (finite / 2 - low / 2) / width if width else np.full(finite.shape, 0.5)
        counts += np.bincount(np.minimum((place * BINS).astype(int), BINS - 1), minlength=BINS)
    return counts
