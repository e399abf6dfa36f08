"""Named arrays and text in one safetensors file with a checksum: what model and optimizer files are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minillm.errors import UserError
from minillm.files import replacing

FORMAT = "minillm"


def write_tensors(path: Path, tensors: dict[str, NDArray[np.generic]], texts: dict[str, str]) -> None:
    """Write host arrays and short texts to `path`, which then holds all of them or is as it was.

    The texts go into safetensors' metadata, beside `format` and `sha256`, the checksum of texts and arrays.

    Raises:
        UserError: the file cannot be written.
    """
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    texts = {**texts, "format": FORMAT}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, {**texts, "sha256": checksum(tensors, texts)})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error


class StoredTensors(Mapping[str, NDArray[np.generic]]):
    """Arrays of a safetensors file by name, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file  # kept open: a file that is put in its place meanwhile is another

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self:
            raise KeyError(name)
        array: NDArray[np.generic] = self._file.get_tensor(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def __len__(self) -> int:
        return len(self._file.keys())

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the array
        return name in self._file.keys()  # noqa: SIM118  not a dict


def read_tensors(path: Path) -> tuple[StoredTensors, dict[str, str]]:
    """The arrays and texts that `write_tensors` wrote; of the arrays, none stays in memory.

    Raises:
        UserError: the file is missing, truncated, altered or not one of ours.
    """
    try:
        file: Any = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{str(path)!r} is truncated or no safetensors file ({error}): use another copy, or train again"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r} ({error.strerror or error}): check the path") from error
    tensors, texts = StoredTensors(file), dict(file.metadata() or {})
    if texts.get("format") != FORMAT:
        raise UserError(f"{str(path)!r} was not written by minillm: give a file that minillm saved")
    expected = texts.pop("sha256", None)
    if checksum(tensors, texts) != expected:
        raise UserError(f"{str(path)!r} was altered since it was saved (its checksum differs): use another copy")
    return tensors, texts


def checksum(tensors: Mapping[str, NDArray[np.generic]], texts: dict[str, str]) -> str:
    """SHA-256 of texts and arrays, in the order of their names."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
