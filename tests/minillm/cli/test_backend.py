"""Which backend a command takes, and kernels compiled before it works."""

from __future__ import annotations

import signal

import pytest

from autograd import BackendError, backends, jit, use_backend
from minillm.cli.backend import choose_backend, compile_kernels


def test_numba_unless_another_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numba")
    assert choose_backend(None) == "numba"
    assert choose_backend("cupy") == "cupy"  # it need not be here: `use_backend` says what is missing
    assert capsys.readouterr().err == ""


def test_numpy_and_a_line_that_says_why_where_numba_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> None:
        raise BackendError(f"backend {name!r} needs the package numba")

    monkeypatch.setattr(backends, "load", load)
    assert choose_backend(None) == "numpy"
    expected = "minillm: using the backend numpy, which is slower: backend 'numba' needs the package numba\n"
    assert capsys.readouterr().err == expected


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
