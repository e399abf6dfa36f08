"""Token files: one row of uint16 (uint32 for a vocabulary above 65,536) in NumPy's .npy format, memory-mapped."""

from pathlib import Path

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
    ids = check_ids(ids, vocab_size).astype(token_dtype(vocab_size))
    if ids.size == 0:
        raise UserError(f"there are no tokens to write to {str(path)!r}; give at least one")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, ids, version=(1, 0), allow_pickle=False)


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
