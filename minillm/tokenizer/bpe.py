"""Byte-level BPE: any text, in tokens that a table of merges makes of its bytes."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer, check_ids, utf8
from minillm.tokenizer.merging import merge_word
from minillm.tokenizer.split import splitter
from minillm.tokenizer.vocabulary import Vocabulary

REMEMBERED = 1 << 16  # words whose tokens the reference keeps


class BPETokenizer(Tokenizer):
    """GPT-2's kind of tokenizer: text is cut by a pattern, and each piece is merged by itself.

    Args:
        vocabulary: tokens and merges.
        pattern: what text is cut by: a name of `minillm.tokenizer.split.PATTERNS` or a regular expression.
        special_tokens: ids by name, for which the vocabulary has no bytes; they may lie past its end.

    Raises:
        UserError: the pattern is none, or the id of a special token is another token's or below 0.
    """

    name: ClassVar[str] = "bpe"

    def __init__(
        self, vocabulary: Vocabulary, *, pattern: str = "gpt2", special_tokens: Mapping[str, int] | None = None
    ) -> None:
        self.vocabulary, self.pattern = vocabulary, pattern
        self.special_tokens = dict(special_tokens or {})
        self._split = splitter(pattern)
        self._bytes = [token or b"" for token in vocabulary.tokens]  # by id
        for name, id in self.special_tokens.items():
            self._bytes += [b""] * (id + 1 - len(self._bytes))
            if id < 0 or self._bytes[id]:
                raise UserError(
                    f"the special token {name!r} has the id {id}, which is {'below 0' if id < 0 else 'taken'}: "
                    f"give it one from {len(vocabulary.tokens)} on"
                )
            self._bytes[id] = name.encode()
        self._merge = functools.lru_cache(REMEMBERED)(functools.partial(merge_word, vocabulary=vocabulary))

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        return self.encode_reference(text)

    def encode_reference(self, text: str) -> NDArray[np.int32]:
        """What `encode_ordinary` gives, in plain Python: to step through, and where numba is missing."""
        pieces = self._split(utf8(text).decode("utf-8"))
        return np.array([id for piece in pieces for id in self._merge(piece.encode())], np.int32)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        return b"".join(self._bytes[id] for id in check_ids(ids, self.vocab_size))

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "tokens": [None if token is None else base64.b64encode(token).decode() for token in self.vocabulary.tokens],
            "merges": self.vocabulary.merges,
            "pattern": self.pattern,
            "special_tokens": dict(self.special_tokens),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        rest = dict(fields)
        try:
            tokens, merges = rest.pop("tokens"), rest.pop("merges")
        except KeyError as error:
            raise TypeError(f"the field {error} is missing") from error
        decoded = [None if token is None else base64.b64decode(token) for token in tokens]
        return cls(Vocabulary(decoded, merges), **rest)
