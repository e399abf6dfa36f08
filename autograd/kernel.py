"""A Kernel: one readable reference function, and the faster twins that must compute the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


class Kernel:
    """`reference` runs everywhere; `twins[backend]`, where there is one, runs instead on that backend's arrays.

    A twin has the reference's signature and returns the same saved arrays, so forward and backward can be
    exchanged one by one, and each is tested against the reference alone.
    """

    __slots__ = ("reference", "twins")

    def __init__(self, reference: Function) -> None:
        self.reference = reference
        self.twins: dict[str, Function] = {}

    def on(self, backend: str) -> Function:
        """The function to run on arrays of `backend`."""
        return self.twins.get(backend, self.reference)

    def has_twin(self, backend: str, *arrays: Any) -> bool:
        """Whether a twin runs on these arrays of `backend`, and not the reference."""
        return backend in self.twins and (backend != "numba" or _compiled_for(arrays))

    def add(self, backend: str, twin: Function) -> None:
        """Register a twin. One for "numba" is handed C-contiguous float32 arrays; all others go to the reference."""
        self.twins[backend] = _guarded(twin, self.reference) if backend == "numba" else twin


def _guarded(twin: Function, reference: Function) -> Function:
    @functools.wraps(twin)
    def run(*arrays: Any, **attributes: Any) -> Any:
        return (twin if _compiled_for(arrays) else reference)(*arrays, **attributes)

    return run


def _compiled_for(arrays: tuple[Any, ...]) -> bool:
    """Whether all floating-point arrays are C-contiguous float32, which is what kernels are compiled for."""
    floats = (a for a in arrays if isinstance(a, (np.ndarray, np.generic)) and a.dtype.kind in "fc")
    return all(a.itemsize == 4 and a.flags.c_contiguous for a in floats)
