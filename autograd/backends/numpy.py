"""Arrays on the CPU, with NumPy's own functions: the reference that everything else is tested against."""

from __future__ import annotations

import numpy as np

from autograd.backends import Array

# glibc hands large freed blocks back to the system, and taking them anew faults in each page: a third of a step's time.
# Freeing one block of just under 32 MiB raises the size from which it does so to that, for good (mallopt(3),
# M_MMAP_THRESHOLD). The block is never touched, so it costs no memory; other allocators do not mind.
np.empty((32 << 20) - (64 << 10), np.uint8)


def check() -> None:
    """NumPy is always there."""


def leave() -> None:
    """Nothing was done."""


def describe() -> str:
    return f"numpy {np.__version__}"


def to_device(array: Array) -> Array:
    return array


def to_host(array: Array) -> Array:
    return array


def scatter_add(n_rows: int, ids: Array, rows: Array) -> Array:
    """Sort by id and sum each run: the same order of additions on every call, and faster than `np.add.at`."""
    total = np.zeros((n_rows, *rows.shape[1:]), rows.dtype)  # (n_rows, C)
    if ids.size:
        order = np.argsort(ids, kind="stable")  # (N,)
        sorted_ids = ids[order]  # (N,)
        new = sorted_ids[1:] != sorted_ids[:-1]  # (N - 1,)
        starts = np.flatnonzero(np.append(True, new))  # first of each run of equal ids
        total[sorted_ids[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return total
