"""Parts of a kernel are neither optimised nor made machine code of by themselves; others' functions are numba's own."""

from __future__ import annotations

import numpy as np
import pytest

from autograd import jit
from autograd.jit import In1, Int, Out1, prange, share

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not jit.ENABLED, reason="nothing is compiled with AUTOGRAD_JIT=0")


@jit.jit(inline=True)
def twice(x):
    return 2 * x


@jit.jit(parallel=True)
def double(x: In1, y: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for i in range(first, last):
            y[i] = twice(x[i])


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names of what numba optimises and of what it makes machine code of, without numbers."""
    from numba.core.codegen import CPUCodeLibrary

    done: dict[str, list[str]] = {"_optimize_final_module": [], "_finalize_final_module": []}

    def watch(method: str) -> None:
        numbas = getattr(CPUCodeLibrary, method)

        def call(library: CPUCodeLibrary) -> None:
            done[method].append(library.name.rsplit("_", 1)[0])
            numbas(library)

        monkeypatch.setattr(CPUCodeLibrary, method, call)

    for method in done:
        watch(method)
    return done


def test_only_a_kernel_and_its_helpers_are_finished(finished, monkeypatch):
    from autograd import compiler

    monkeypatch.setattr(compiler, "_unkept", ["double"])  # nothing is found on disk
    x = np.arange(5, dtype=np.float32)
    y = np.empty_like(x)
    compiler.compile(double)(x, y, 2)
    assert y.tolist() == [0, 2, 4, 6, 8]
    once_in_a_process = {"nrt", "share"}
    assert set(finished["_optimize_final_module"]) - once_in_a_process == {"twice", "double"}
    assert finished["_finalize_final_module"] == finished["_optimize_final_module"]


def test_a_function_of_others_is_compiled_as_numba_does(finished):
    @numba.njit(parallel=True)
    def treble(x):
        for i in numba.prange(len(x)):
            x[i] *= 3

    x = np.ones(3)
    treble(x)
    assert x.tolist() == [3, 3, 3]
    assert "parallelgufuncwrapper" in finished["_finalize_final_module"]
