"""Special tokens: ids that stand for no text, such as the end of a document, and their names where text has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import regex

from minillm.errors import UserError

END_OF_TEXT = "<|endoftext|>"  # GPT-2's, between two documents


def chosen(names: Collection[str] | Literal["all"], special_tokens: Mapping[str, int]) -> set[str]:
    """`names` as a set. Raises UserError for one that is no special token."""
    if names == "all":
        return set(special_tokens)
    if isinstance(names, str):
        raise UserError(f"special tokens are given as a set of names or 'all', not as {names!r}: put it into a set")
    unknown = sorted(set(names) - set(special_tokens))
    if unknown:
        has = ", ".join(special_tokens) or "none"
        raise UserError(f"{unknown[0]!r} is no special token of this tokenizer, which has {has}: give one of them")
    return set(names)


def refuse(text: str, names: Collection[str]) -> None:
    """Raise UserError if one of the names is in the text."""
    found = names and _any_of(names).search(text)
    if found:
        raise UserError(
            f"the text has the special token {found.group()!r} at position {found.start()}, which is not allowed: "
            f"allow it with allowed_special={{{found.group()!r}}}, or with disallowed_special=() take it for text"
        )


def cut(text: str, names: Collection[str]) -> Iterator[tuple[str, bool]]:
    """The parts of a text, none empty, and whether each is one of the names."""
    if not names:
        yield from [(text, False)] if text else []
        return
    start = 0
    for found in _any_of(names).finditer(text):
        if found.start() > start:
            yield text[start : found.start()], False
        yield found.group(), True
        start = found.end()
    if start < len(text):
        yield text[start:], False


def _any_of(names: Collection[str]) -> regex.Pattern[str]:
    """Matches the longest of the names that begins at a place."""
    return regex.compile("|".join(regex.escape(name) for name in sorted(names, key=len, reverse=True)))
