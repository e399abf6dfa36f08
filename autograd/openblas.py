"""NumPy's BLAS, which compiled kernels call: where its sgemm is, and which kernels of its own it takes."""

from __future__ import annotations

import ctypes
import os

import llvmlite.binding  # type: ignore[import-untyped]  # it ships no types
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # it ships no types

from autograd.backends import BackendError

_NAMES = {"scipy_cblas_sgemm64_": 64, "cblas_sgemm64_": 64, "cblas_sgemm": 32}  # by library; bits of an integer


def sgemm() -> tuple[int, int]:
    """Address of CBLAS's sgemm in the BLAS that NumPy has loaded, and the bits of its integers.

    Raises:
        BackendError: there is none that is known.
    """
    for library in threadpool_info():
        if library["user_api"] == "blas":
            loaded = ctypes.CDLL(library["filepath"])
            for name, bits in _NAMES.items():
                if hasattr(loaded, name):
                    address = ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value
                    assert address is not None
                    _take_faster_kernels(loaded)
                    return address, bits
    raise BackendError(
        "backend 'numba' needs a BLAS with cblas_sgemm, and NumPy's has none: install NumPy from PyPI, "
        "or use the backend 'numpy'"
    )


def _take_faster_kernels(openblas: ctypes.CDLL) -> None:
    """On AMD's Zen 4, let OpenBLAS take its kernels for AVX2, as it does with OPENBLAS_CORETYPE=Haswell.

    It takes those for AVX-512, which Zen 4 does in two halves: 91 to 103 GF/s on a core, and 104 to 108 with AVX2's
    (measured at a model's shapes, OpenBLAS 0.3.31). OpenBLAS chooses when it is loaded, and here once more.
    """
    if llvmlite.binding.get_host_cpu_name() != "znver4" or "OPENBLAS_CORETYPE" in os.environ:
        return
    if hasattr(openblas, "gotoblas_dynamic_init") and hasattr(openblas, "gotoblas_dynamic_quit"):
        os.environ["OPENBLAS_CORETYPE"] = "Haswell"
        openblas.gotoblas_dynamic_quit()
        openblas.gotoblas_dynamic_init()
        del os.environ["OPENBLAS_CORETYPE"]
