"""Token files: one row of uint16 (uint32 for a vocabulary above 65,536) in NumPy's .npy format, memory-mapped."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer.base import check_ids

CHECKED_ON_OPENING = 1 << 24  # tokens: 32 MiB of uint16, some 10 ms


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest type, little-endian, that a token file has for ids in [0, vocab_size)."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def write_tokens(path: Path, ids: ArrayLike, vocab_size: int) -> None:
    """Write ids (n,) to `path` at once: a file of that name is replaced whole or not at all.

    Raises UserError for an id outside the vocabulary, no ids, or a file that cannot be written.
    """
    write_token_parts(path, [ids], vocab_size)


def write_token_parts(path: Path, parts: Iterable[ArrayLike], vocab_size: int) -> int:
    """As `write_tokens`, for ids that come in parts (n_i,), of which one is held at a time; returns how many there are.

    What the parts themselves raise passes through, and leaves no file.
    """
    dtype, n = token_dtype(vocab_size), 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        _write_header(file, dtype, 0)
        for part in parts:
            ids = check_ids(part, vocab_size).astype(dtype)
            file.write(ids.data)
            n += ids.size
        if n == 0:
            raise UserError(f"there are no tokens to write to {str(path)!r}; give at least one")
        file.seek(0)
        _write_header(file, dtype, n)
    return n


def _write_header(file: BinaryIO, dtype: np.dtype[np.unsignedinteger], n: int) -> None:
    """NumPy's header, which is as long for any n: it leaves room for the number to grow."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": (n,)})


def open_tokens(path: Path, vocab_size: int) -> NDArray[np.unsignedinteger]:
    """The tokens (n,) of a file, mapped read-only: they are read from disk as they are used.

    Raises UserError where the file is missing, truncated or no token file, has another width than `vocab_size` asks
    for, or holds an id outside the vocabulary among its first 16,777,216 tokens. (The rest is left to the embedding,
    which checks what it is given: reading a large file through takes minutes.)
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"cannot open the token file {str(path)!r}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise UserError(
            f"{str(path)!r} is truncated or not a token file ({error}); write it again with minillm.data.write_tokens"
        ) from error
    expected = token_dtype(vocab_size)
    if tokens.dtype != expected or tokens.ndim != 1:
        raise UserError(
            f"{str(path)!r} holds {tokens.dtype} of shape {tokens.shape}, but the tokens of a vocabulary of "
            f"{vocab_size} are one row of {expected}; open it with the tokenizer that made it, or write it again"
        )
    check_ids(tokens[:CHECKED_ON_OPENING], vocab_size)
    return tokens
