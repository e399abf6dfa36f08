"""A Kernel: one readable reference function, and the faster twins that must compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
