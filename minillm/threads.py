"""How many cores this process really has, and how many threads the linear algebra may use.

Threads beyond the real cores wait for each other: a product of two matrices measured 17 ms on 3 threads took 556 ms
on 4 of a shared machine. A container's CPU quota does not show in `os.cpu_count()`, so it is read from the cgroup.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from autograd import backends
from autograd.backends import numba as numba_backend
from minillm.errors import UserError


def available_cores() -> int:
    """Cores this process may use: its CPU affinity, less where a cgroup's quota allows less; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = _cgroup_quotas(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, int(min([cores, *quotas])))


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
        n: None is as many as there are available cores, or fewer where OPENBLAS_NUM_THREADS or NUMBA_NUM_THREADS,
            whichever counts, says so.

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
            n = min(cores, numba_backend.pool_size() if self._compiled else blas_threads())
        if n < 1:
            raise UserError(f"threads is {n}: give a whole number of at least 1, at best at most {cores}")
        if n > cores:
            warnings.warn(
                f"{n} threads on {cores} available cores wait for each other and can be many times slower: "
                f"use at most {cores}",
                RuntimeWarning,
                stacklevel=2,
            )
        self._kernels_before = numba_backend.threads()
        self._pools = threadpool_limits(1, "blas") if self._compiled else threadpool_limits(n)
        if self._compiled:
            numba_backend.set_threads(n)
        self.n = n

    def __enter__(self) -> limit_threads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._compiled:
            numba_backend.set_threads(self._kernels_before)
        self._pools.restore_original_limits()


def _blas_pools() -> list[dict[str, Any]]:
    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def _cgroup_quotas(root: Path, membership: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's cgroups and of all above them.

    Args:
        root: where cgroups are mounted.
        membership: lines `hierarchy:controllers:path` (man 7 cgroups); version 2 has the one hierarchy 0.
    """
    with suppress(OSError):  # not Linux: no cgroups
        for line in membership.read_text().splitlines():
            hierarchy, controllers, path = line.split(":", 2)
            if hierarchy == "0":
                mount = root
            elif "cpu" in controllers.split(","):
                mount = root / "cpu"
            else:
                continue
            folder = mount / path.lstrip("/")
            for group in (folder, *folder.parents):
                if group.is_relative_to(mount):
                    yield from _quota(group)


def _quota(group: Path) -> Iterator[float]:
    """The quota of one cgroup, in cores, if it has one."""
    with suppress(OSError, ValueError):  # no such file; "max", which is no number
        if (group / "cpu.max").exists():  # version 2: "quota period", in microseconds
            quota, period = map(int, (group / "cpu.max").read_text().split())
        else:
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:  # version 1 says -1 for no limit
            yield quota / period
