"""What the formats share: files read, ids and tokens checked, and messages that name the file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minillm.errors import UserError
from minillm.tokenizer.merging import merge_word
from minillm.tokenizer.vocabulary import MOST_TOKENS, Vocabulary


@contextmanager
def about(*paths: Path) -> Iterator[None]:
    """Put the names of the files in front of what a UserError says."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{' and '.join(repr(str(path)) for path in paths)}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """What the file holds. Raises UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the file ({error.strerror or error}): check its name") from error


def read_text(path: Path) -> str:
    """The file's text. Raises UserError if it cannot be read or is not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"byte {error.start} is not UTF-8, so this is no text file: check that it is the right one"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError if it holds none."""
    try:
        found = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"the file is no JSON, or was cut short ({error}): get it again") from error
    if not isinstance(found, dict):
        raise UserError(f"the file holds a JSON {type(found).__name__} and no object: check that it is the right one")
    return found


def check_id(name: object, id: object) -> int:
    """`id`, if it is the id of a token. Raises UserError naming the token."""
    if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id < MOST_TOKENS:
        raise UserError(f"token {name!r} has the id {id!r}: ids are whole numbers from 0 to {MOST_TOKENS - 1:,}")
    return id


def in_order(ids: Mapping[bytes, int], special_ids: Collection[int]) -> list[bytes | None]:
    """Tokens by id, None for the special ones' ids.

    Raises:
        UserError: an id is no number, there twice, or missing. Only special tokens may lie past a gap.
    """
    token_of: dict[int, bytes | None] = dict.fromkeys(special_ids)
    for token, id in ids.items():
        other = token_of.get(check_id(token, id))
        if id in token_of:
            raise UserError(f"token {id} is {token!r} and also {other or 'a special one'!r}: give each id once")
        token_of[id] = token
    n = max(ids.values(), default=-1) + 1
    for id in range(n):
        if id not in token_of:
            raise UserError(f"no token has the id {id}, though ids go up to {n - 1}: give a file that has all of them")
    return [token_of[id] for id in range(n)]


def check_every_token_is_made(vocabulary: Vocabulary) -> None:
    """Raise UserError for a token that its own bytes do not merge to.

    Where there is one, programs that look a whole word up before they merge, as tiktoken does, give other ids.
    """
    for token, id in vocabulary.ids.items():
        if merge_word(token, vocabulary) != [id]:
            raise UserError(
                f"the bytes of token {id}, {token!r}, do not merge to it: tiktoken takes it for such a word and "
                "minillm does not, so use a vocabulary whose merges make every token"
            )
