"""Compiled kernels: functions of arrays, written as plain Python loops, compiled by numba when first called.

    @jit(parallel=True)
    def double(x: In2, y: Out2, n_threads: Int) -> None:
        for t in prange(n_threads):
            first, last = share(t, n_threads, x.shape[0])
            for i in range(first, last):
                ...

An inner loop over elements belongs in a helper that is handed the slice: there it becomes vector instructions, while in
a `prange` over threads it often does not (AdamW took twice as long, a sum of squares three times).

The annotations are the signature. `In2` is a C-contiguous float32 array of two axes that is only read, so arrays saved
for backward, which are write-protected, are taken as they are. What is compiled stays on disk, keyed by the source,
the CPU and numba's version. numba is imported with the first call of a kernel, not before.

With the environment variable AUTOGRAD_JIT=0 kernels run as the Python that they are: slow, but to be stepped through.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeAlias

from autograd.backends import Array

# arrays by their number of axes, only read or written to: float32, float64 (sums that need it), int64
In1: TypeAlias = Array
In2: TypeAlias = Array
In3: TypeAlias = Array
In4: TypeAlias = Array
Out1: TypeAlias = Array
Out2: TypeAlias = Array
Out3: TypeAlias = Array
Out4: TypeAlias = Array
OutDouble1: TypeAlias = Array
Ids1: TypeAlias = Array
# the tokenizer's, only read (Bytes1, InInts1, InLongs1) or written to: uint8, int32, int64, uint64
Bytes1: TypeAlias = Array
OutBytes1: TypeAlias = Array
InInts1: TypeAlias = Array
Ints1: TypeAlias = Array
Int64s1: TypeAlias = Array
Ints2: TypeAlias = Array
Int64s2: TypeAlias = Array
InLongs1: TypeAlias = Array
Longs1: TypeAlias = Array
Int: TypeAlias = int
Float: TypeAlias = float
Bool: TypeAlias = bool

ENABLED = os.environ.get("AUTOGRAD_JIT", "1") != "0"


def prange(n: int) -> range:
    """Turns that run on several threads when compiled, numba's prange; one after another in Python."""
    return range(n)


_watchers: list[Callable[[str], object]] = []


@contextmanager
def watch_compiling(callback: Callable[[str], object]) -> Iterator[None]:
    """Inside the block, call `callback(name)` after each kernel that had to be compiled, since disk had none."""
    _watchers.append(callback)
    try:
        yield
    finally:
        _watchers.remove(callback)


class Compiled:
    """A function that is compiled on its first call, with the functions it calls that are marked `jit` too."""

    def __init__(self, function: FunctionType, parallel: bool, inline: bool) -> None:
        self.python, self.parallel, self.inline = function, parallel, inline
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._machine: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        if self._machine is None:
            self._machine = self.machine() if ENABLED else self.python
        return self._machine(*args)

    def machine(self) -> Callable[..., Any]:
        """The compiled function, made now or loaded from disk if it is not there yet."""
        if self._machine is None:
            machine: Any = importlib.import_module("autograd.compiler").compile(self)
            self._machine = machine
            if not self.inline and not machine.stats.cache_hits:
                for callback in _watchers:
                    callback(self.__name__)
        assert self._machine is not None
        return self._machine


def jit(*, parallel: bool = False, inline: bool = False) -> Callable[[Callable[..., Any]], Compiled]:
    """Decorator: the function is a kernel.

    Args:
        parallel: `prange` runs its turns on threads.
        inline: a helper of other kernels without a signature of its own, compiled for what it is called with.
    """
    return lambda function: Compiled(function, parallel, inline)  # type: ignore[arg-type]  # a def is a FunctionType


@jit(inline=True)
def share(turn: int, n_turns: int, n: int) -> tuple[int, int]:
    """First and last + 1 of the part of n things that falls to one of n_turns turns: the same on every run."""
    return turn * n // n_turns, (turn + 1) * n // n_turns


def gemm(alpha: float, a: Array, trans_a: bool, b: Array, trans_b: bool, beta: float, c: Array) -> None:
    """c = alpha * op(a) @ op(b) + beta * c, on one thread; a, b, c of two axes, rows may lie apart, beta 0 writes only.

    Compiled it is BLAS's sgemm, see `autograd.compiler`.
    """
    product = alpha * ((a.T if trans_a else a) @ (b.T if trans_b else b))
    c[...] = product if beta == 0 else product + beta * c
