"""Character-level tokens: the sorted set of a text's characters, as in nanoGPT's data/shakespeare_char/prepare.py."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer, check_ids


class CharTokenizer(Tokenizer):
    """Token id = place of the character in `characters`, which are distinct. Raises UserError if they are not."""

    name: ClassVar[str] = "char"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._code_points = _code_points(characters)  # (V,)  id -> code point
        is_surrogate = (self._code_points >= 0xD800) & (self._code_points <= 0xDFFF)  # (V,)
        if not characters or len(set(characters)) != len(characters) or is_surrogate.any():
            raise UserError(
                f"a character vocabulary has at least one character, none twice and no lone surrogate, not "
                f"{characters[:80]!r}; make one with CharTokenizer.train(text) from text that is valid Unicode"
            )
        # (largest code point + 2,)  code point -> id; -1 where unknown, and the last entry stands for all beyond
        self._ids = np.full(int(self._code_points.max()) + 2, -1, dtype=np.int32)
        self._ids[self._code_points] = np.arange(len(characters), dtype=np.int32)

    @classmethod
    def train(cls, texts: str | Iterable[str]) -> Self:
        """The vocabulary of all characters in the texts, by code point. Raises UserError if there are none."""
        return cls("".join(sorted(set().union(*([texts] if isinstance(texts, str) else texts)))))

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        """One id per character (n,). Raises UserError naming the first character that is not in the vocabulary."""
        ids = self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]  # (n,)
        if ids.size and ids.min() < 0:
            position = int(np.argmin(ids))
            raise UserError(
                f"character {text[position]!r} at position {position} is not in this vocabulary of {self.vocab_size} "
                "characters; leave it out, or train with data that has it or with the byte tokenizer"
            )
        return ids

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        code_points: bytes = self._code_points[check_ids(ids, self.vocab_size)].tobytes()
        return code_points.decode("utf-32-le").encode("utf-8")

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "characters": self.characters}


def _code_points(text: str) -> NDArray[np.uint32]:
    """(n,) Unicode code points; a lone surrogate passes, so that it is reported as a character like any other."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
