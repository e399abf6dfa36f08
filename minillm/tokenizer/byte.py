"""Byte-level tokens: the 256 byte values of UTF-8. Any text can be written; a character takes one to four tokens."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer, check_ids


class ByteTokenizer(Tokenizer):
    """Token id = byte value."""

    name: ClassVar[str] = "byte"

    @classmethod
    def train(cls, text: str) -> Self:
        """The one byte tokenizer: there is nothing to learn from `text`."""
        return cls()

    @property
    def vocab_size(self) -> int:
        return 256

    def encode(self, text: str) -> NDArray[np.int32]:
        """UTF-8 bytes (n,) of `text`. Raises UserError for a lone surrogate, which UTF-8 cannot express."""
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"character {text[error.start]!r} at position {error.start} is half of a surrogate pair, which UTF-8 "
                "cannot express; give valid Unicode text"
            ) from error
        return np.frombuffer(data, dtype=np.uint8).astype(np.int32)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        return check_ids(ids, self.vocab_size).astype(np.uint8).tobytes()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}
