"""Indexing: everything NumPy's `x[index]` takes.

y = x[index]       dx = 0;  dx[index] += dy, where an element taken twice gets both gradients
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.op import Op


def getitem_forward(x: Array, *, index: Any) -> tuple[Array, tuple[Any, ...]]:
    return x[index], (x.shape, index)


def getitem_backward(dy: Array, shape: tuple[int, ...], index: Any) -> tuple[Array]:
    dx = np.zeros_like(dy, shape=shape)
    parts = index if isinstance(index, tuple) else (index,)
    if all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts):
        dx[index] = dy  # basic indexing takes each element at most once
    else:
        np.add.at(dx, index, dy)
    return (dx,)


getitem = Op(getitem_forward, getitem_backward)
