"""Arrays on an NVIDIA GPU through CuPy. The reference kernels run on them as they are."""

from __future__ import annotations

from typing import Any

from autograd.backends import Array, BackendError

try:
    import cupy  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional: the extra `gpu`
    import cupyx  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:
    cupy = None


def check() -> None:
    if cupy is None:
        raise BackendError("backend 'cupy' needs the package CuPy, which is not installed: pip install 'minillm[gpu]'")
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"backend 'cupy' needs an NVIDIA GPU and its driver, and CUDA answers {error}: "
            "use the backend 'numpy' on this machine"
        ) from None
    if n_devices == 0:
        raise BackendError("backend 'cupy' needs an NVIDIA GPU, and CUDA sees none: use the backend 'numpy'")


def leave() -> None:
    """Nothing was done."""


def describe() -> str:
    name: Any = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
    return f"cupy {cupy.__version__}, {name.decode()}"


def to_device(array: Array) -> Array:
    moved: Array = cupy.asarray(array)
    return moved


def to_host(array: Array) -> Array:
    host: Array = cupy.asnumpy(array)
    return host


def scatter_add(n_rows: int, ids: Array, rows: Array) -> Array:
    total: Array = cupy.zeros((n_rows, *rows.shape[1:]), rows.dtype)  # (n_rows, C)
    cupyx.scatter_add(total, ids, rows)
    return total
