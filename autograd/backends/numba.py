"""NumPy arrays with compiled kernels: ops that have a twin for "numba" run it, all others run as they do under NumPy.

There is one pool of threads, numba's. BLAS is called from inside it and runs on one thread: two pools that wait for
each other by spinning made a kernel 270 times slower (measured).
"""

from __future__ import annotations

import importlib.util

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from autograd.backends import BackendError
from autograd.backends.numpy import scatter_add, to_device, to_host

__all__ = ["check", "describe", "scatter_add", "set_threads", "threads", "to_device", "to_host"]

_threads = 1


def check() -> None:
    if importlib.util.find_spec("numba") is None:
        raise BackendError("backend 'numba' needs the package numba, which is not installed: pip install numba")


def describe() -> str:
    import numba

    return f"numba {numba.__version__} on {_threads} thread{'s' if _threads > 1 else ''}"


def threads() -> int:
    """How many threads a kernel runs on."""
    return _threads


def set_threads(n: int) -> None:
    """Let kernels run on n threads from here on, and BLAS on one."""
    global _threads
    import numba

    numba.set_num_threads(n)
    threadpool_limits(1, "blas")
    _threads = n
