"""The tokens of a byte-level BPE and its merges, checked."""

from __future__ import annotations

from collections.abc import Sequence

from minillm.errors import UserError

MOST_TOKENS = 1 << 24  # ids are below


class Vocabulary:
    """What a byte-level BPE is made of.

    Args:
        tokens: the bytes of each token, by id; None for an id that stands for no bytes, such as a special token's.
        merges: pairs of ids whose bytes together are a token's, in the order of their rank, the lowest first.

    Attributes:
        byte_ids: the token of each single byte, (256,).
        ids: the token of these bytes.
        ranks: of each pair that merges. Where several pairs make the same token, all have the rank of the first of
            them: tiktoken's rule, which merges what makes the lowest token, whatever its two halves are.
        made: by rank, the token that a merge makes.

    Raises:
        UserError: one of the 256 bytes is missing, a token is there twice, a merge names a token that is not there or
            makes none, or a merge is there twice.
    """

    def __init__(self, tokens: Sequence[bytes | None], merges: Sequence[tuple[int, int]]) -> None:
        self.tokens, self.merges = list(tokens), [(left, right) for left, right in merges]
        self.ids = _ids(self.tokens)
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ids]
        if missing:
            raise UserError(
                f"the vocabulary has no token for the byte {missing[0]:#04x}, and lacks {len(missing)} of 256: "
                "give one that has every byte"
            )
        self.byte_ids = [self.ids[bytes([byte])] for byte in range(256)]
        self.made: list[int] = []
        self.ranks: dict[tuple[int, int], int] = {}
        rank_of: dict[int, int] = {}
        for place, pair in enumerate(self.merges):
            token = self._token_of(pair, place)
            if pair in self.ranks:
                raise UserError(f"merge {place}, of {pair}, is there twice: give each once")
            if token not in rank_of:
                rank_of[token] = len(self.made)
                self.made.append(token)
            self.ranks[pair] = rank_of[token]

    def _token_of(self, pair: tuple[int, int], place: int) -> int:
        """The token that merge number `place` makes of `pair`."""
        for id in pair:
            if not 0 <= id < len(self.tokens) or self.tokens[id] is None:
                raise UserError(
                    f"merge {place} is of the tokens {pair}, and {id} is none of this vocabulary of "
                    f"{len(self.tokens)}: give the merges that belong to it"
                )
        joined = b"".join(self.tokens[id] or b"" for id in pair)
        if joined not in self.ids:
            raise UserError(
                f"merge {place} makes {joined!r}, which is no token of this vocabulary of {len(self.tokens)}: "
                "give the merges that belong to it"
            )
        return self.ids[joined]


def _ids(tokens: Sequence[bytes | None]) -> dict[bytes, int]:
    """The id of each token."""
    ids: dict[bytes, int] = {}
    for id, token in enumerate(tokens):
        if token in ids:
            raise UserError(f"token {id} is {token!r}, as token {ids[token]} is: give each once")
        if token == b"":
            raise UserError(f"token {id} has no bytes: give each at least one, or None for an id that stands for none")
        if token is not None:
            ids[token] = id
    return ids
