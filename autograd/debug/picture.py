"""An array made small enough to show: a heat map of a few thousand cells, and a histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import backends
from autograd.backends import Array
from autograd.debug.summary import Summary

ROWS, COLUMNS = 64, 96  # most cells of a heat map
BINS = 32


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


def picture(array: Any, *, rows: int = ROWS, columns: int = COLUMNS) -> Picture:
    """Of an array of any backend, number of axes and dtype, or of a number; of complex numbers their magnitudes."""
    a = np.asarray(backends.backend_of(array).to_host(array))
    values = np.abs(a) if a.dtype.kind == "c" else a
    table = values.reshape(-1, a.shape[-1] if a.ndim and a.size else 1).astype(np.float64)  # (R, C)
    finite = table[np.isfinite(table)]  # (n,)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    cells = _cells(table, rows, columns)
    return Picture(a.shape, str(a.dtype), cells, low, high, _histogram(finite, low, high), Summary.of(a))


def _cells(table: Array, rows: int, columns: int) -> Array:
    """Of each block of (R, C) the element of largest magnitude -> (at most rows, at most columns)."""
    if not table.size:
        return np.zeros((0, 0), np.float32)
    tops, lefts = (_starts(n, most) for n, most in zip(table.shape, (rows, columns), strict=True))
    largest = np.maximum.reduceat(np.maximum.reduceat(table, tops, 0), lefts, 1)  # NaN where there is one
    smallest = np.minimum.reduceat(np.minimum.reduceat(table, tops, 0), lefts, 1)
    cells = np.where(largest >= -smallest, largest, smallest)
    most = np.finfo(np.float32).max
    seen = np.isfinite(largest) & np.isfinite(smallest)
    return np.where(seen, np.clip(cells, -most, most), np.nan).astype(np.float32)


def _starts(n: int, most: int) -> Array:
    """Where each of at most `most` blocks of about equal length begins."""
    n_blocks = min(n, most)
    return np.arange(n_blocks) * n // n_blocks


def _histogram(finite: Array, low: float, high: float) -> Array:
    """Counts (BINS,) over [low, high]; equal values lie in the middle.

    `np.histogram` refuses a range of a few roundings, which the mean's gradient has, and one that overflows.
    """
    width = high / 2 - low / 2
    place = (finite / 2 - low / 2) / width if width else np.full(finite.shape, 0.5)
    return np.bincount(np.minimum((place * BINS).astype(int), BINS - 1), minlength=BINS)
