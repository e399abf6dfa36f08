"""Cores: cgroup files as Linux writes them, in a folder of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autograd.backends import cores


def quotas(tmp_path: Path, membership: str, **files: str) -> list[float]:
    (tmp_path / "membership").write_text(membership)
    for name, content in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return list(cores._cgroup_quotas(tmp_path / "root", tmp_path / "membership"))


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
    assert list(cores._cgroup_quotas(tmp_path, tmp_path / "absent")) == []


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (10**6, None)])
def test_a_quota_lowers_the_cores_to_whole_ones(
    monkeypatch: pytest.MonkeyPatch, quota: float, expected: int | None
) -> None:
    monkeypatch.setattr(cores, "_cgroup_quotas", lambda *_: [])
    without = cores.available_cores()
    assert 1 <= without <= (os.cpu_count() or 1)
    monkeypatch.setattr(cores, "_cgroup_quotas", lambda *_: [quota])
    assert cores.available_cores() == (expected or without)
