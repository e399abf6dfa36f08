"""Byte-level BPE: any text, in tokens that a table of merges makes of its bytes."""

from __future__ import annotations

import base64
import functools
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autograd.backends.cores import available_cores
from minillm.errors import UserError
from minillm.tokenizer.base import Names, Tokenizer, check_ids, joined, utf8
from minillm.tokenizer.compiled.encoder import Encoder
from minillm.tokenizer.compiled.merge import MAX_TOKENS
from minillm.tokenizer.formats import gpt2
from minillm.tokenizer.learn import can_compile, learn_merges
from minillm.tokenizer.merging import merge_word
from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.split import splitter
from minillm.tokenizer.training import Tie, bytes_in_order
from minillm.tokenizer.vocabulary import MOST_TOKENS, Vocabulary

REMEMBERED = 1 << 16  # words whose tokens the reference keeps


class BPETokenizer(Tokenizer):
    """GPT-2's kind of tokenizer: text is cut by a pattern, and each piece is merged by itself.

    Args:
        vocabulary: tokens and merges.
        pattern: what text is cut by: a name of `minillm.tokenizer.split.PATTERNS` or a regular expression.
        special_tokens: ids by name, for which the vocabulary has no bytes; they may lie past its end.

    Raises:
        UserError: the pattern is none, or the id of a special token is another token's, below 0 or too high.
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
            wrong = "below 0" if id < 0 else "too high" if id >= MOST_TOKENS else ""
            if wrong or (id < len(self._bytes) and self._bytes[id]):
                raise UserError(
                    f"the special token {name!r} has the id {id}, which is {wrong or 'taken'}: "
                    f"give it one from {len(vocabulary.tokens)} on"
                )
            self._bytes += [b""] * (id + 1 - len(self._bytes))
            self._bytes[id] = name.encode()
        self._merge = functools.lru_cache(REMEMBERED)(functools.partial(merge_word, vocabulary=vocabulary))

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        *,
        vocab_size: int | None = None,
        min_frequency: int = 2,
        special_tokens: Sequence[str] = (),
        pattern: str = "gpt2",
        tie: Tie = "id",
        progress: bool = False,
    ) -> Self:
        """The tokenizer learned from texts, which are read once and not kept: memory grows with the distinct words.

        The first 256 tokens are the bytes, in GPT-2's order; the merges follow, and the special tokens come last.

        Args:
            texts: no word lies across two of them.
            vocab_size: tokens in all. None: a merge for every pair that occurs often enough.
            min_frequency: how often a pair must occur to be merged.
            special_tokens: their names.
            pattern: as the class has it. A text is held in pieces for those of PATTERNS, and whole for others.
            tie: which of the pairs that occur equally often comes first, see `minillm.tokenizer.training`.
            progress: show bars, on a terminal.

        Raises:
            UserError: vocab_size is too small for the bytes and special tokens, the pattern or tie is none, or a
                special token is there twice.

        Warns:
            UserWarning: the text gives fewer merges than vocab_size asks for, and the vocabulary is smaller.
        """
        least = 256 + len(special_tokens)
        if vocab_size is not None and vocab_size < least:
            raise UserError(
                f"a vocabulary of {vocab_size} tokens is too small: 256 bytes and {len(special_tokens)} special tokens "
                f"take {least}; give vocab_size {least} or more"
            )
        if len(set(special_tokens)) < len(special_tokens) or "" in special_tokens:
            raise UserError(f"special tokens are names, none empty and none twice, not {list(special_tokens)}")
        merges = learn_merges(
            [texts] if isinstance(texts, str) else texts,
            pattern,
            None if vocab_size is None else vocab_size - least,
            min_frequency=min_frequency,
            tie=tie,
            progress=progress,
        )
        tokens = bytes_in_order("gpt2")
        for left, right in merges:
            tokens.append(tokens[left] + tokens[right])
        ids = {name: len(tokens) + i for i, name in enumerate(special_tokens)}
        tokenizer = cls(Vocabulary(tokens, merges), pattern=pattern, special_tokens=ids)
        if vocab_size is not None and tokenizer.vocab_size < vocab_size:
            warnings.warn(
                f"after {len(merges):,} merges no pair occurs {min_frequency} times any more, so the vocabulary has "
                f"{tokenizer.vocab_size:,} tokens and not {vocab_size:,}; for more of them give more text",
                stacklevel=2,
            )
        return tokenizer

    @classmethod
    def from_gpt2_files(
        cls, encoder_json: str | Path, vocab_bpe: str | Path, *, special_tokens: Collection[str] = (END_OF_TEXT,)
    ) -> Self:
        """GPT-2's tokenizer, from the two files that OpenAI publishes, or another of the same form.

        Args:
            encoder_json: tokens and their ids.
            vocab_bpe: the merges.
            special_tokens: names of tokens that are special if the files have them, which do not say it.

        Raises:
            UserError: a file cannot be read, is of another kind, was cut short, or does not belong to the other.
        """
        vocabulary, special_ids = gpt2.read(Path(encoder_json), Path(vocab_bpe), special_tokens)
        return cls(vocabulary, special_tokens=special_ids)

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        return self.encode_reference(text) if self._encoder is None else self._encoder.encode(text)

    def encode_reference(self, text: str) -> NDArray[np.int32]:
        """What `encode_ordinary` gives, in plain Python: to step through, and where numba is missing."""
        pieces = self._split(utf8(text).decode("utf-8"))
        return np.array([id for piece in pieces for id in self._merge(piece.encode())], np.int32)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: Names = (),
        disallowed_special: Names = "all",
        n_threads: int | None = None,
    ) -> list[NDArray[np.int32]]:
        """What `encode` gives for each text, found by n_threads threads, or as many as there are cores.

        Raises UserError as `encode` does, and for less than one thread.
        """
        if n_threads is not None and n_threads < 1:
            raise UserError(f"n_threads is {n_threads}: give 1 or more, or None for as many as there are cores")
        if self._encoder is None:  # threads would wait for each other
            return super().encode_batch(texts, allowed_special=allowed_special, disallowed_special=disallowed_special)
        parts = [self._parts(text, allowed_special, disallowed_special) for text in texts]
        ordinary = [part for of_text in parts for part, special in of_text if not special]
        ids = iter(self._encoder.encode_batch(ordinary, n_threads or available_cores()))
        return [joined(self._id_of(part) if special else next(ids) for part, special in of_text) for of_text in parts]

    @functools.cached_property
    def _encoder(self) -> Encoder | None:
        """The compiled encoder, made when it is first needed. None: the reference encodes."""
        if can_compile() and len(self.vocabulary.tokens) <= MAX_TOKENS:
            return Encoder(self.vocabulary, self._split)
        return None

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
