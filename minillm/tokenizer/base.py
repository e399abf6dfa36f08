"""What every tokenizer offers. A tokenizer is one class in one file of this folder and one entry in TOKENIZERS."""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError


class Tokenizer(ABC):
    """Maps text to token ids in [0, vocab_size) and back; `decode(encode(text)) == text` for any text it accepts."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def train(cls, text: str) -> Self:
        """The tokenizer learned from `text`."""

    @property
    @abstractmethod
    def vocab_size(self) -> int: ...

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids (n,) of `text`. Raises UserError for text that the vocabulary cannot express."""

    @abstractmethod
    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """The UTF-8 bytes that the ids (n,) stand for; a single token may be part of a character.

        Raises UserError for an id outside the vocabulary.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Fields for JSON: `name` and the constructor's arguments; `minillm.tokenizer.from_dict` rebuilds from it."""

    def decode(self, ids: ArrayLike) -> str:
        """The text of the ids (n,); bytes that are not UTF-8 become U+FFFD. Raises UserError as `decode_bytes` does."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield text as ids arrive, holding back the bytes of an unfinished character; the pieces join to `decode`."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in ids:
            if piece := decoder.decode(self.decode_bytes([token])):
                yield piece
        if rest := decoder.decode(b"", final=True):  # the ids ended inside a character
            yield rest


def check_ids(ids: ArrayLike, vocab_size: int) -> NDArray[np.integer]:
    """`ids` as an integer array (n,); raises UserError naming the first id outside [0, vocab_size)."""
    ids = np.asarray(ids)
    if ids.size == 0:
        return np.empty(0, dtype=np.int32)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"token ids are one row of integers, not {ids.dtype} of shape {ids.shape}")
    if ids.min() < 0 or ids.max() >= vocab_size:
        position = int(np.argmax((ids < 0) | (ids >= vocab_size)))
        raise UserError(
            f"token id {ids[position]} at position {position} is not in this vocabulary of {vocab_size} tokens "
            f"(0 to {vocab_size - 1}); use the tokenizer that made the ids"
        )
    return ids
