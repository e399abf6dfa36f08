"""Compiled kernels on disk: found again, compiled anew when a helper of another file changes; no trouble without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import HANGS

from autograd.jit import jit

pytest.importorskip("numba")

HELPERS = """
from autograd.jit import jit

@jit(inline=True)
def twice(x):
    return 2 * x
"""
KERNELS = """
from __future__ import annotations
import numpy as np
from autograd.jit import In1, Int, Out1, jit, prange, share, watch_compiling
from helpers import twice

@jit(parallel=True)
def double(x: In1, y: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for i in range(first, last):
            y[i] = twice(x[i])

def run():
    x = np.arange(5, dtype=np.float32)
    y = np.empty_like(x)
    names = []
    with watch_compiling(names.append):
        double(x, y, 2)
    print(y.tolist(), names)
"""
DOUBLED, TREBLED = "[0.0, 2.0, 4.0, 6.0, 8.0]", "[0.0, 3.0, 6.0, 9.0, 12.0]"


class Project:
    """Two files with a kernel and a helper, and a folder for what is compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        (folder / "helpers.py").write_text(HELPERS)
        (folder / "kernels.py").write_text(KERNELS)

    def start(self, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "import kernels; kernels.run()"],
            env={**os.environ, "PYTHONPATH": f"{self.folder}:{Path.cwd()}", "NUMBA_CACHE_DIR": str(self.cache), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **env: str) -> tuple[str, str]:
        """What a process of its own prints, on stdout and stderr."""
        process = self.start(**env)
        out, err = process.communicate(timeout=HANGS)
        assert process.returncode == 0, err
        return out.strip(), err


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_second_start_finds_what_the_first_compiled(project: Project) -> None:
    assert project.run() == (f"{DOUBLED} ['double']", "")
    assert project.run() == (f"{DOUBLED} []", "")


def test_a_changed_helper_in_another_file_is_compiled(project: Project) -> None:
    project.run()
    (project.folder / "helpers.py").write_text(HELPERS.replace("2 * x", "3 * x"))
    assert project.run() == (f"{TREBLED} ['double']", "")


def test_another_cpu_has_kernels_of_its_own(project: Project) -> None:
    project.run()
    assert project.run(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma") == (f"{DOUBLED} ['double']", "")
    assert project.run() == (f"{DOUBLED} []", "")


def test_where_a_folder_cannot_be_written_to_the_next_one_is_taken_and_without_any_one_line_warns(
    project: Project,
) -> None:
    nowhere = project.folder / "a file"
    nowhere.write_text("")  # a folder's rights would not stop root
    places = {"NUMBA_CACHE_DIR": str(nowhere / "cache"), "HOME": str(nowhere), "XDG_CACHE_HOME": str(nowhere)}
    assert project.run(**places) == (f"{DOUBLED} ['double']", "")
    assert project.run(**places) == (f"{DOUBLED} []", "")  # beside the source
    shutil.rmtree(project.folder / "__pycache__")
    (project.folder / "__pycache__").write_text("")
    out, err = project.run(**places)
    assert out == f"{DOUBLED} ['double']"
    assert err.count("compiled kernels cannot be kept on disk, so each start compiles them again") == 1


def test_two_processes_may_compile_at_once(project: Project) -> None:
    both = [project.start(), project.start()]
    results = [process.communicate(timeout=HANGS) for process in both]
    assert [(out.split("] [")[0] + "]", err) for out, err in results] == [(DOUBLED, "")] * 2
    assert project.run() == (f"{DOUBLED} []", "")


def test_an_interrupt_while_compiling_leaves_nothing_broken(project: Project) -> None:
    process = project.start()
    time.sleep(0.7)  # it imports, or compiles, or is done
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=HANGS)
    assert project.run()[0].startswith(DOUBLED)


def test_without_compiling_kernels_are_python(project: Project) -> None:
    assert project.run(AUTOGRAD_JIT="0") == (f"{DOUBLED} []", "")
    assert not project.cache.exists()


def test_an_annotation_that_is_no_name_of_ours_is_named() -> None:
    @jit()
    def kernel(x: list[int]) -> None: ...

    with pytest.raises(TypeError, match=r"kernel .*kernel has 'x: .*list\[int\].*' in its signature: annotate with"):
        kernel.machine()
