"""Copies of arrays: in memory up to a limit, beyond it in files of a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from autograd.backends import Array, to_host
from autograd.debug.errors import DebugError


class Kept:
    """One copy: the array itself, or the file it is in."""

    __slots__ = ("_array", "_file", "n_bytes")

    def __init__(self, array: Array | None, file: Path | None, n_bytes: int) -> None:
        self._array, self._file, self.n_bytes = array, file, n_bytes

    @property
    def file(self) -> Path | None:
        """Where it lies on disk; None if it is in memory."""
        return self._file

    @property
    def array(self) -> Array:
        """Read-only; from a file as a memory map.

        Raises:
            DebugError: its store has been closed.
        """
        if self._array is not None:
            return self._array
        try:
            array: Array = np.load(self._file, mmap_mode="r")  # type: ignore[arg-type]  # one of the two is there
        except FileNotFoundError:
            raise DebugError(
                "this array was kept on disk, and its trace has been closed: look at it before `close()`"
            ) from None
        return array


class Store:
    """Keeps copies of arrays, of any backend.

    Args:
        memory: bytes to keep in memory; what comes when these are full goes to disk.

    Attributes:
        in_memory, on_disk: bytes there now.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.in_memory, self.on_disk = memory, 0, 0
        self._folder: Path | None = None
        self._n_files = 0

    def put(self, array: Any) -> Kept:
        """A copy of `array`.

        Raises:
            DebugError: the disk has no room for it.
        """
        host = to_host(array)
        if self.in_memory + host.nbytes <= self.memory:
            copy = np.array(host, order="C")
            copy.flags.writeable = False
            self.in_memory += copy.nbytes
            return Kept(copy, None, copy.nbytes)
        file = self._next_file()
        try:
            np.save(file, host, allow_pickle=False)
        except BaseException as error:
            file.unlink(missing_ok=True)
            if isinstance(error, OSError):
                reason = error.strerror or error
                raise DebugError(
                    f"an array of {host.nbytes:,} bytes could not be kept in {file.parent} ({reason}): "
                    "trace fewer arrays (arrays=[...]), allow more in memory (memory=...), or set TMPDIR to a folder "
                    "with more room"
                ) from None
            raise
        self.on_disk += host.nbytes
        return Kept(None, file, host.nbytes)

    def drop(self, kept: Kept) -> None:
        """Let go of a copy."""
        if kept.file is None:
            self.in_memory -= kept.n_bytes
        else:
            self.on_disk -= kept.n_bytes
            kept.file.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is on disk."""
        if self._folder is not None:
            self._remove()
            self._folder, self.on_disk = None, 0

    def _next_file(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="trace-"))
            # at the latest when this store is dropped or Python ends
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._n_files += 1
        return self._folder / f"{self._n_files}.npy"
