"""How many threads to compute on, in one pool, whatever the environment variables say."""

from __future__ import annotations

import warnings
from typing import Any

from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from autograd import backends
from autograd.backends import numba as numba_backend
from autograd.backends.cores import available_cores
from minillm.errors import UserError

__all__ = ["available_cores", "blas_libraries", "blas_threads", "limit_threads"]


def blas_libraries() -> list[str]:
    """Name and version of each BLAS in this process; none where threadpoolctl does not know it (Apple's Accelerate)."""
    return [f"{pool['internal_api']} {pool['version']}" for pool in _blas_pools()]


def blas_threads() -> int:
    """Threads that BLAS uses now; 1 where threadpoolctl does not know the library."""
    return max((pool["num_threads"] for pool in _blas_pools()), default=1)


class limit_threads:
    """Compute on `n` threads from here on, or, as a `with` block, until its end: in one pool, whatever else is set.

    Under the backend "numba" its kernels run on them, and BLAS, which they call, on one; under the others BLAS and
    OpenMP do. So switch the backend on before.

    Args:
        n: None is as many as there are available cores, or fewer where BLAS, which heeds OPENBLAS_NUM_THREADS and the
            like, has fewer; under "numba" see `autograd.backends.numba.default_threads`.

    Warns:
        RuntimeWarning: more threads than cores.

    Raises:
        UserError: n below 1.
        BackendError: more threads than numba has.
    """

    def __init__(self, n: int | None = None) -> None:
        self._compiled = backends.name_of() == "numba"
        cores = available_cores()
        if n is None:
            n = numba_backend.default_threads() if self._compiled else min(cores, blas_threads())
        if n < 1:
            raise UserError(f"threads is {n}: give a whole number of at least 1, at best at most {cores}")
        if n > cores:
            warnings.warn(
                f"{n} threads on {cores} available cores wait for each other and can be many times slower: "
                f"use at most {cores}",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._compiled:
            self._kernels_before = numba_backend.threads()
            numba_backend.set_threads(n)
        else:
            self._pools = threadpool_limits(n)
        self.n = n

    def __enter__(self) -> limit_threads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._compiled:
            numba_backend.set_threads(self._kernels_before)
        else:
            self._pools.restore_original_limits()


def _blas_pools() -> list[dict[str, Any]]:
    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
