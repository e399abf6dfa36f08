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


def limit_threads(n: int | None = None) -> threadpool_limits:
    """Let BLAS and OpenMP use `n` threads from here on, or, as a `with` block, until its end.

    Args:
        n: None leaves BLAS as it is (so OPENBLAS_NUM_THREADS holds), but never more threads than available cores.

    Warns:
        RuntimeWarning: more threads than cores.

    Raises:
        UserError: n below 1.
    """
    cores = available_cores()
    if n is None:
        n = min(cores, blas_threads())
    if n < 1:
        raise UserError(f"threads is {n}: give a whole number of at least 1, at best at most {cores}")
    if n > cores:
        warnings.warn(
            f"{n} threads on {cores} available cores wait for each other and can be many times slower: "
            f"use at most {cores}",
            RuntimeWarning,
            stacklevel=2,
        )
    return threadpool_limits(limits=n)


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
