"""The tokenizer of llama2.c: sentencepiece's BPE as `run.c` does it (karpathy/llama2.c, `encode` and `decode`).

Its pieces are text with spaces, and text is not cut into words:

  A space is put in front of the text, and each character begins as its piece, or where it has none as the pieces of
  its bytes. Then, as long as there is one, the two neighbours whose join is the piece of the highest score become it,
  the first of them where several do.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer, check_ids, utf8, whole_characters
from minillm.tokenizer.merging import merge

BEGIN, END = 1, 2  # ids of the special tokens <s> and </s>
FIRST_BYTE = 3  # id of the byte 0; the others follow
LOWEST_SCORE = -1e10  # run.c makes no piece of a lower one


class Llama2cTokenizer(Tokenizer):
    """Token id = place of the piece. Ids 0, 1 and 2 are <unk>, <s> and </s>, and 3 to 258 the bytes.

    Where run.c ends a text at the byte 0, and prints no byte of a character that has no piece, they are kept here.

    Args:
        pieces: the bytes of each.
        scores: of each, float32.

    Raises:
        UserError: there is not a score for each piece, or one below -1e10, a byte or the space has no piece, or a piece
            is empty, has a byte 0 or is there twice.
    """

    name: ClassVar[str] = "llama2c"
    special_tokens: Mapping[str, int] = {"<s>": BEGIN, "</s>": END}

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
        self.pieces = list(pieces)
        self.scores: list[float] = np.asarray(scores, np.float32).tolist()
        if len(self.pieces) != len(self.scores):
            raise UserError(f"there are {len(self.pieces)} pieces and {len(self.scores)} scores: give one for each")
        self._ids: dict[bytes, int] = {}
        for id, (piece, score) in enumerate(zip(self.pieces, self.scores, strict=True)):
            if not piece or 0 in piece or piece in self._ids:
                raise UserError(f"piece {id} is {piece!r}: pieces have one byte or more, none of them 0, and differ")
            if not LOWEST_SCORE < score < np.inf:
                raise UserError(f"piece {id} has the score {score}: scores are numbers above {LOWEST_SCORE:g}")
            self._ids[piece] = id
        for byte in range(256):
            found = self.pieces[FIRST_BYTE + byte : FIRST_BYTE + byte + 1]
            if found != [b"<0x%02X>" % byte]:
                raise UserError(
                    f"piece {FIRST_BYTE + byte} is {found[0] if found else None!r} and not '<0x{byte:02X}>', which "
                    "run.c takes for a byte: use a tokenizer.bin that llama2.c's newest tokenizer.py exports"
                )
        if b" " not in self._ids:
            raise UserError("there is no piece ' ', which run.c puts in front of a text: use one that has it")

    @classmethod
    def train(cls, texts: str | Iterable[str]) -> Self:
        """Raises UserError: it is trained by sentencepiece, and exported by llama2.c's tokenizer.py."""
        raise UserError(
            "a llama2c tokenizer is not trained here but by sentencepiece: "
            "load a tokenizer.bin that llama2.c's tokenizer.py exports, or train a bpe tokenizer"
        )

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        ids: list[int] = []
        for character in utf8(f" {text}" if text else "").decode():
            piece = character.encode()
            ids += [self._ids[piece]] if piece in self._ids else [FIRST_BYTE + byte for byte in piece]
        return np.array(merge(ids, self._rule), np.int32)

    def _rule(self, left: int, right: int) -> tuple[float, int] | None:
        id = self._ids.get(self.pieces[left] + self.pieces[right])
        return None if id is None else (-self.scores[id], id)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """The bytes of the ids (n,), without the space that a text begins with. Raises UserError as the base does."""
        return b"".join(self._parts_of(check_ids(ids, self.vocab_size)))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        return whole_characters(self._parts_of(int(check_ids([id], self.vocab_size)[0]) for id in ids))

    def _parts_of(self, ids: Iterable[int]) -> Iterator[bytes]:
        """What each id stands for: a text begins with the first, and after <s>, and has no space there."""
        before = BEGIN
        for id in ids:
            if id in (BEGIN, END):
                yield b"<s>" if id == BEGIN else b"</s>"
            elif FIRST_BYTE <= id < FIRST_BYTE + 256:
                yield bytes([id - FIRST_BYTE])
            else:
                piece = self.pieces[id]
                yield piece.removeprefix(b" ") if before == BEGIN else piece
            before = id

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pieces": [base64.b64encode(piece).decode() for piece in self.pieces],
            "scores": self.scores,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        if set(fields) != {"pieces", "scores"}:
            raise TypeError("the fields are not pieces and scores")
        return cls([base64.b64decode(piece) for piece in fields["pieces"]], fields["scores"])
