"""What every tokenizer offers. A tokenizer is one class in one file of this folder and one entry in TOKENIZERS."""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.tokenizer.special import chosen, cut, refuse

Names = Collection[str] | Literal["all"]  # of special tokens


class Tokenizer(ABC):
    """Maps text to token ids in [0, vocab_size) and back; `decode(encode(text)) == text` for any text it accepts.

    Attributes:
        special_tokens: tokens that stand for no text, such as the end of a document, by name.
    """

    name: ClassVar[str]
    special_tokens: Mapping[str, int] = MappingProxyType({})

    @classmethod
    @abstractmethod
    def train(cls, texts: str | Iterable[str]) -> Self:
        """The tokenizer learned from a text, or from several that are read one after another."""

    @property
    @abstractmethod
    def vocab_size(self) -> int: ...

    @abstractmethod
    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        """Token ids (n,) of `text`, all of it: the name of a special token is text like any other.

        Raises:
            UserError: text that the vocabulary cannot express.
        """

    def encode(self, text: str, *, allowed_special: Names = (), disallowed_special: Names = "all") -> NDArray[np.int32]:
        """Token ids (n,) of `text`, with special tokens where their names stand, as in tiktoken.

        Args:
            text: to encode.
            allowed_special: names that become their token; "all" for every one that this tokenizer has.
            disallowed_special: names that may not be in the text; "all" for every one that is not allowed. What is
                neither allowed nor disallowed is text. Text that others wrote could otherwise end a document.

        Raises:
            UserError: a disallowed name is in the text, a name is no special token, or text as `encode_ordinary`.
        """
        parts = self._parts(text, allowed_special, disallowed_special)
        return joined(self._id_of(part) if special else self.encode_ordinary(part) for part, special in parts)

    def _parts(self, text: str, allowed_special: Names, disallowed_special: Names) -> list[tuple[str, bool]]:
        """The text cut at the special tokens that are allowed; each part, and whether it is one."""
        allowed = chosen(allowed_special, self.special_tokens)
        refuse(text, chosen(disallowed_special, self.special_tokens) - allowed)
        return list(cut(text, allowed))

    def _id_of(self, name: str) -> NDArray[np.int32]:
        """The token of a special one's name, (1,)."""
        return np.array([self.special_tokens[name]], np.int32)

    def encode_batch(
        self, texts: Iterable[str], *, allowed_special: Names = (), disallowed_special: Names = "all"
    ) -> list[NDArray[np.int32]]:
        """What `encode` gives for each text."""
        return [
            self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special) for text in texts
        ]

    @abstractmethod
    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """The UTF-8 bytes that the ids (n,) stand for; a single token may be part of a character.

        Raises UserError for an id outside the vocabulary.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Fields for JSON: `name`, and what `from_fields` takes; `minillm.tokenizer.from_dict` rebuilds from it."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The tokenizer whose `to_dict()` gave these fields besides its name. Raises TypeError for other fields."""
        return cls(**fields)

    def decode(self, ids: ArrayLike) -> str:
        """The text of the ids (n,); bytes that are not UTF-8 become U+FFFD. Raises UserError as `decode_bytes` does."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text as ids arrive, holding back the bytes of an unfinished character; the pieces join to `decode`."""
        return whole_characters(self.decode_bytes([token]) for token in ids)


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


def joined(parts: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    """The ids of all parts, of which there may be none, as one array (n,)."""
    arrays = list(parts)
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, np.int32), *arrays])


def whole_characters(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of UTF-8 as its parts arrive; bytes that are none become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for part in parts:
        if piece := decoder.decode(part):
            yield piece
    if rest := decoder.decode(b"", final=True):  # the bytes ended inside a character
        yield rest


def utf8(text: str) -> bytes:
    """`text` as UTF-8. Surrogates are none of it: a pair becomes its character, one alone U+FFFD, as in tiktoken."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")
