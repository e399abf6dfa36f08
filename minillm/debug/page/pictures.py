"""Arrays as the page draws them: few cells, in two bytes each; the same array once, however often it is shown."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import Any

import numpy as np

from autograd.backends import Array, to_host
from autograd.debug.picture import picture


def number(x: float) -> float | str:
    """As JSON can hold it: "nan", "inf" and "-inf" are text there."""
    return x if math.isfinite(x) else str(x)


class Pictures:
    """All pictures of a page, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self._places: dict[tuple[Any, ...], int] = {}

    def place(self, array: Any) -> int:
        """Where in `made` the picture of an array of any backend is; it is made where it is new."""
        a = to_host(array)
        key = (hashlib.sha256(a.tobytes()).digest(), a.shape, str(a.dtype))
        if key not in self._places:
            self._places[key] = len(self.made)
            self.made.append(_drawn(a))
        return self._places[key]


def _drawn(a: Array) -> dict[str, Any]:
    shown = picture(a)
    rows, columns = shown.cells.shape
    scale = shown.limit or 1.0
    halves = (shown.cells.astype(np.float64) / scale).astype("<f2")  # (rows, columns): three digits in two bytes
    found = shown.summary
    return {
        "shape": list(shown.shape),
        "dtype": shown.dtype,
        "rows": rows,
        "columns": columns,
        "whole": rows * columns == a.size,
        "scale": scale,
        "cells": base64.b64encode(halves.tobytes()).decode(),
        "low": shown.low,
        "high": shown.high,
        "bins": shown.histogram.tolist(),
        **{name: number(getattr(found, name)) for name in ("norm", "mean", "std", "min", "max")},
        "nan": found.n_nan,
        "inf": found.n_inf,
    }
