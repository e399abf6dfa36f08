"""Which kernels NumPy's OpenBLAS takes."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("numba")

from autograd import openblas  # it needs numba's llvmlite


class Recorder:
    """Stands for the library: what it is told, and the type of core that it would read then."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def gotoblas_dynamic_quit(self) -> None:
        self.calls.append(("quit", os.environ.get("OPENBLAS_CORETYPE")))

    def gotoblas_dynamic_init(self) -> None:
        self.calls.append(("init", os.environ.get("OPENBLAS_CORETYPE")))


@pytest.mark.parametrize(
    ("cpu", "users", "calls"),
    [
        ("znver4", None, [("quit", "Haswell"), ("init", "Haswell")]),
        ("znver4", "SkylakeX", []),  # the user has chosen
        ("znver5", None, []),
        ("skylake-avx512", None, []),
    ],
)
def test_zen_4_takes_the_kernels_for_avx2(
    cpu: str, users: str | None, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: cpu)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if users:
        monkeypatch.setenv("OPENBLAS_CORETYPE", users)
    library = Recorder()
    openblas._take_faster_kernels(library)
    assert library.calls == calls
    assert os.environ.get("OPENBLAS_CORETYPE") == users  # processes that this one starts are left alone


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "znver4")
    openblas._take_faster_kernels(object())


def test_products_are_right_whatever_it_took() -> None:
    openblas.sgemm()
    a, b = np.random.default_rng(0).standard_normal((2, 70, 70)).astype(np.float32)
    np.testing.assert_allclose(a @ b, a.astype(float) @ b.astype(float), rtol=1e-4, atol=1e-4)
