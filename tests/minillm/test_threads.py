"""Cores and threads: cgroup files as Linux writes them, in a folder of the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from autograd import BackendError, use_backend
from autograd.backends import numba as numba_backend
from minillm import threads
from minillm.errors import UserError
from minillm.threads import available_cores, blas_threads, limit_threads


def quotas(tmp_path: Path, membership: str, **files: str) -> list[float]:
    (tmp_path / "membership").write_text(membership)
    for name, content in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return list(threads._cgroup_quotas(tmp_path / "root", tmp_path / "membership"))


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),  # a container of version 2: its own group is the root
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, [4]),  # a limit further up
        ("0::/gone\n", {}, []),
        (
            "4:cpu,cpuacct:/box\n3:memory:/box\n0::/\n",
            {"cpu/box/cpu.cfs_quota_us": "200000\n", "cpu/box/cpu.cfs_period_us": "100000\n"},
            [2],
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        # a container of version 1 sees its group at the root, under a path of the host's
        ("4:cpu:/host/x\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [0.5]),
        ("", {}, []),
    ],
)
def test_quotas_are_read_as_linux_writes_them(
    tmp_path: Path, membership: str, files: dict[str, str], expected: list[float]
) -> None:
    assert quotas(tmp_path, membership, **files) == expected


def test_no_cgroups_no_quota(tmp_path: Path) -> None:
    assert list(threads._cgroup_quotas(tmp_path, tmp_path / "absent")) == []


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (10**6, None)])
def test_a_quota_lowers_the_cores_to_whole_ones(
    monkeypatch: pytest.MonkeyPatch, quota: float, expected: int | None
) -> None:
    monkeypatch.setattr(threads, "_cgroup_quotas", lambda *_: [])
    without = available_cores()
    assert 1 <= without <= (os.cpu_count() or 1)
    monkeypatch.setattr(threads, "_cgroup_quotas", lambda *_: [quota])
    assert available_cores() == (expected or without)


def test_limits_hold_within_the_block() -> None:
    before = blas_threads()
    with limit_threads(1):
        assert blas_threads() == 1
    assert blas_threads() == before


def test_by_default_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit_threads(1), limit_threads():
        assert blas_threads() == 1  # fewer were set: they stay
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    with limit_threads():
        assert blas_threads() == 1


def test_more_threads_than_cores_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    with pytest.warns(RuntimeWarning, match="2 threads on 1 available cores"), limit_threads(2):
        pass


def test_no_threads_are_refused() -> None:
    with pytest.raises(UserError, match="threads is 0"):
        limit_threads(0)


# --- under numba: the kernels get the threads, and BLAS, which they call, one -----------------------------------------


@pytest.fixture
def on_numba() -> Iterator[None]:
    pytest.importorskip("numba")
    with use_backend("numba"):
        yield


@pytest.mark.usefixtures("on_numba")
def test_one_pool_under_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(numba_backend, "pool_size", lambda: 4)
    with threadpool_limits(2, "blas"):
        before = numba_backend.threads()
        with limit_threads() as limit:
            assert (limit.n, numba_backend.threads(), blas_threads()) == (2, 2, 1)
        assert (numba_backend.threads(), blas_threads()) == (before, 2)


@pytest.mark.usefixtures("on_numba")
def test_numbas_own_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 64)
    monkeypatch.setattr(numba_backend, "pool_size", lambda: 1)
    with limit_threads() as limit:
        assert limit.n == 1
    with pytest.raises(BackendError, match="threads is 3, and the backend 'numba' has 1"):
        limit_threads(3)
