"""NumPy arrays with compiled kernels: ops that have a twin for "numba" run it, all others run as they do under NumPy.

There is one pool of threads, numba's. BLAS is called from inside it and runs on one thread: two pools that wait for
each other by spinning made a kernel 270 times slower (measured). So from the first kernel on, NumPy's own products run
on one thread too; when another backend is switched on, BLAS gets back the threads that it had.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from contextlib import suppress
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # it ships no types

from autograd.backends import BackendError
from autograd.backends.cores import available_cores
from autograd.backends.numpy import scatter_add, to_device, to_host

__all__ = [
    "check",
    "default_threads",
    "describe",
    "leave",
    "pool_size",
    "scatter_add",
    "set_threads",
    "threads",
    "to_device",
    "to_host",
]

_threads: int | None = None  # None: not asked for yet
_limit: Any = None  # what BLAS had before, while it is on one thread


def check() -> None:
    if importlib.util.find_spec("numba") is None:
        raise BackendError("backend 'numba' needs the package numba, which is not installed: pip install numba")
    try:
        importlib.import_module("autograd.compiler")  # which looks for a BLAS that it knows
    except (ImportError, OSError) as error:  # such as of a numba too old for this NumPy
        raise BackendError(
            f"backend 'numba' cannot run, since importing numba fails ({error}): use the backend 'numpy'"
        ) from error


def describe() -> str:
    import numba

    n = _threads or default_threads()
    return f"numba {numba.__version__} on {n} thread{'s' if n > 1 else ''}"


def leave() -> None:
    """Give BLAS back its threads."""
    global _limit
    if _limit is not None:
        _limit.restore_original_limits()
        _limit = None


def threads() -> int:
    """How many threads a kernel runs on. Asked before each, so it is here that BLAS goes to one thread."""
    global _limit
    if _limit is None:
        _limit = _pools().limit(limits=1, user_api="blas")
    if _threads is None:
        set_threads(default_threads())
    assert _threads is not None
    return _threads


def default_threads() -> int:
    """The available cores, or fewer where NUMBA_NUM_THREADS or OMP_NUM_THREADS says so. BLAS's own do not count."""
    n = min(available_cores(), pool_size())
    with suppress(KeyError, ValueError):  # not set; no number
        n = min(n, int(os.environ["OMP_NUM_THREADS"].split(",")[0]))  # a list is for nested regions
    return max(1, n)


def pool_size() -> int:
    """The most threads that kernels can run on: the cores of this process, or what NUMBA_NUM_THREADS says."""
    import numba

    size: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when it is imported
    return size


def set_threads(n: int) -> None:
    """Let kernels run on n threads from here on.

    Raises:
        BackendError: n is not between 1 and `pool_size()`.
    """
    global _threads
    import numba

    if not 1 <= n <= pool_size():
        raise BackendError(
            f"threads is {n}, and the backend 'numba' has {pool_size()}: "
            "give a whole number from 1 to that, or set NUMBA_NUM_THREADS"
        )
    numba.set_num_threads(n)
    _threads = n


@functools.cache
def _pools() -> Any:
    """The libraries with threads in this process; to look for them takes a millisecond."""
    return ThreadpoolController()
