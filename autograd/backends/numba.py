"""NumPy arrays with compiled kernels: ops that have a twin for "numba" run it, all others run as they do under NumPy.

There is one pool of threads, numba's. BLAS is called from inside it and runs on one thread: two pools that wait for
each other by spinning made a kernel 270 times slower (measured).
"""

from __future__ import annotations

import importlib
import importlib.util

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from autograd.backends import BackendError
from autograd.backends.numpy import scatter_add, to_device, to_host

__all__ = ["check", "describe", "pool_size", "scatter_add", "set_threads", "threads", "to_device", "to_host"]

_threads = 1


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

    return f"numba {numba.__version__} on {_threads} thread{'s' if _threads > 1 else ''}"


def threads() -> int:
    """How many threads a kernel runs on."""
    return _threads


def pool_size() -> int:
    """The most threads that kernels can run on: the cores of this process, or what NUMBA_NUM_THREADS says."""
    import numba

    size: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when it is imported
    return size


def set_threads(n: int) -> None:
    """Let kernels run on n threads from here on, and BLAS on one.

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
    threadpool_limits(1, "blas")
    _threads = n
