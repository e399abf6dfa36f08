"""How much memory something takes, and nothing of what else happens in the process meanwhile."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes at once that `run` takes: the least of three runs.

    They are those of the whole process, and a table of the interpreter's, of names say, may grow by megabytes in one of
    the runs, whichever thread makes it grow. It has room then, and does not in the next one.
    """
    return min(_peak_of_one(run) for _ in range(3))


def _peak_of_one(run: Callable[[], object]) -> int:
    tracemalloc.start()  # counts what is taken from now on
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bytes_left(make: Callable[[], T]) -> tuple[T, int]:
    """What `make` returns, and the bytes of the arrays that it left behind: NumPy's own memory, nobody else's."""
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
        snapshot = tracemalloc.take_snapshot().filter_traces([arrays])
    finally:
        tracemalloc.stop()
    return made, sum(trace.size for trace in snapshot.traces)
