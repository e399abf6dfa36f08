"""Kernels are compiled before a command works."""

from __future__ import annotations

import signal

import pytest

from autograd import jit, use_backend
from minillm.cli.backend import compile_kernels


def compiles(name: str) -> None:
    """What `Compiled` does when it has compiled a kernel."""
    for callback in jit._watchers:
        callback(name)


def test_ctrl_c_ends_it_after_the_kernel_it_came_in() -> None:
    pytest.importorskip("numba")
    done: list[str] = []

    def run() -> None:
        for name in ("first", "second"):
            signal.raise_signal(signal.SIGINT)
            compiles(name)
            done.append(name)

    before = signal.getsignal(signal.SIGINT)
    with use_backend("numba"), pytest.raises(KeyboardInterrupt):
        compile_kernels(run)
    assert done == []
    assert jit._watchers == []
    assert signal.getsignal(signal.SIGINT) is before


def test_other_backends_have_nothing_to_compile() -> None:
    compile_kernels(lambda: pytest.fail("it ran"))
