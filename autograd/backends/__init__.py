"""Where arrays live and what little differs from library to library: one file a backend.

Reference kernels call NumPy functions, which CuPy arrays answer too, so a backend is short: it makes arrays,
moves them to and from the host, and adds rows by index. To add one, add a file here and a line to `BACKENDS`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Protocol, TypeAlias

import numpy as np

from autograd import modes

# np.ndarray or cupy.ndarray: both answer NumPy's functions, and cupy may not be installed
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BACKENDS = ("numpy", "numba", "cupy")


class BackendError(RuntimeError):
    """A backend that is unknown, or that cannot run on this machine."""


class Backend(Protocol):
    """What a backend module defines."""

    def check(self) -> None:
        """Raise BackendError, saying what is missing, where this backend cannot run."""

    def leave(self) -> None:
        """Undo what it did to the process, when another backend is switched on."""

    def describe(self) -> str:
        """One line for people: library, version, device."""

    def to_device(self, array: Array) -> Array:
        """A NumPy array as an array of this backend."""

    def to_host(self, array: Array) -> Array:
        """An array of this backend as a NumPy array."""

    def scatter_add(self, n_rows: int, ids: Array, rows: Array) -> Array:
        """Zeros (n_rows, C) with rows[i] (N, C) added at row ids[i] (N,); equal ids add up."""


@functools.cache
def load(name: str) -> Backend:
    """The backend module of that name.

    Raises:
        BackendError: no such backend, or it cannot run here.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    backend: Any = importlib.import_module(f"autograd.backends.{name}")
    backend.check()
    return backend  # type: ignore[no-any-return]  # a module that has the functions of the Protocol


def name_of(*arrays: object) -> str:
    """The backend of these arrays: "cupy" if one is CuPy's; arrays on the CPU go to the one that is switched on."""
    for array in arrays:
        kind = type(array)
        if kind is not np.ndarray and kind.__module__.startswith("cupy"):
            return "cupy"
    active = modes.backend_name.get()
    return "numpy" if active == "cupy" else active


def backend_of(array: object) -> Backend:
    """The backend module an array belongs to."""
    return load(name_of(array))


def to_host(x: Any) -> Array:
    """An array of any backend, or a number, as a NumPy array: the array itself where it is one."""
    array: Array = np.asarray(backend_of(x).to_host(x))
    return array


def active() -> Backend:
    """The backend that `use_backend` switched on."""
    return load(modes.backend_name.get())


class use_backend:
    """Switch to a backend from here on, or, as a `with` block, until its end.

        use_backend("cupy")
        with use_backend("numpy"): ...

    Raises:
        BackendError: no such backend, or it cannot run here; the message says what is missing.
    """

    def __init__(self, name: str) -> None:
        load(name)
        before = active()
        self._token = modes.backend_name.set(name)
        _leave(before)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        before = active()
        modes.backend_name.reset(self._token)
        _leave(before)


def _leave(before: Backend) -> None:
    if active() is not before:
        before.leave()
