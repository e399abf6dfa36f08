"""Byte-level tokens: the 256 byte values of UTF-8. Any text can be written; a character takes one to four tokens."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.tokenizer.base import Tokenizer, check_ids, utf8


class ByteTokenizer(Tokenizer):
    """Token id = byte value."""

    name: ClassVar[str] = "byte"

    @classmethod
    def train(cls, texts: str | Iterable[str]) -> Self:
        """The one byte tokenizer: there is nothing to learn from texts, which are not read."""
        return cls()

    @property
    def vocab_size(self) -> int:
        return 256

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int32)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        return check_ids(ids, self.vocab_size).astype(np.uint8).tobytes()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}
