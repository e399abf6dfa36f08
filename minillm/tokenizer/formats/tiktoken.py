"""tiktoken's ranks (`.tiktoken`): a token in base64 and its rank, which is its id, in each line.

The file has no merges: two neighbours merge if their bytes together are a token, the one of the lowest rank first. So
the merges are every way to cut a token in two tokens. Neither the split pattern nor special tokens are in the file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer.bpe import BPETokenizer
from minillm.tokenizer.formats.reading import about, check_every_token_is_made, check_id, in_order, read_text
from minillm.tokenizer.vocabulary import Vocabulary


def load(path: Path, *, pattern: str, special_tokens: Mapping[str, int] | None = None) -> BPETokenizer:
    """The tokenizer of ranks, and of the pattern and special tokens that belong to them.

    Raises:
        UserError: the file cannot be read, a line is no token and rank, a token or rank is there twice or missing, or
            its merges do not make a token.
    """
    special = dict(special_tokens or {})
    with about(path):
        ranks = _ranks(read_text(path))
        tokens = in_order(ranks, special.values())
        vocabulary = Vocabulary(tokens, [pair for token in tokens if token for pair in _halves(token, ranks)])
        check_every_token_is_made(vocabulary)
    return BPETokenizer(vocabulary, pattern=pattern, special_tokens=special)


def save(tokenizer: BPETokenizer, path: Path) -> None:
    """Write the ranks. The pattern and special tokens are not in the file.

    Raises:
        UserError: tiktoken would merge otherwise, because merges are not in the order of the tokens that they make or
            make some token never, or the file cannot be written.
    """
    vocabulary = tokenizer.vocabulary
    for before, after in zip(vocabulary.made, vocabulary.made[1:], strict=False):
        if before > after:
            raise UserError(
                f"token {before} is made before token {after}, and tiktoken would merge in the order of ids: "
                "save the tokenizer in another format"
            )
    check_every_token_is_made(vocabulary)
    with replacing(path) as temporary:
        temporary.write_bytes(
            b"".join(b"%s %d\n" % (base64.b64encode(token), id) for id, token in enumerate(vocabulary.tokens) if token)
        )


def _ranks(text: str) -> dict[bytes, int]:
    """The rank of each token."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        token, _, rank = line.partition(" ")
        try:
            decoded, id = base64.b64decode(token, validate=True), int(rank)
        except (binascii.Error, ValueError) as error:
            raise UserError(
                f"line {number} is {line[:80]!r} and not a token in base64, a space and its rank: "
                "get the file again, or give one of ranks"
            ) from error
        if decoded in ranks:
            raise UserError(f"line {number} has {decoded!r} again, whose rank is {ranks[decoded]}: give each once")
        ranks[decoded] = check_id(decoded, id)
    return ranks


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> list[tuple[int, int]]:
    """The pairs of tokens that `token` can be cut into."""
    cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
    return [(ranks[left], ranks[right]) for left, right in cuts if left in ranks and right in ranks]
