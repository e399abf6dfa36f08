"""Long text in pieces that no word lies across, so that work on words needs one piece in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

PIECE = 1 << 20  # characters

# Every pattern of PATTERNS cuts here: in front of a space that follows none, and between a line end and a letter.
# A line end that follows white space is part of a word with it, so the text before a cut must not end with both.
_EDGE = re.compile(r"(?<=\S)(?= )|(?<=\S\n)(?=[^\W\d_])")
_NEAR = 1 << 10  # characters from the end, where an edge is looked for first


def in_pieces(parts: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """A text that is given in parts, in pieces of about `size` characters, none empty, which join to the text.

    Each pattern of `minillm.tokenizer.split.PATTERNS` cuts the pieces as it cuts the whole. What has no place to be cut
    at is one piece, however long it is.
    """
    held: list[str] = []
    length = 0
    for part in parts:
        length += len(part)
        cut = _last_edge(part) if length >= size else 0
        if cut:
            yield "".join([*held, part[:cut]])
            held, length = [], len(part) - cut
        held.append(part[cut:])
    if length:
        yield "".join(held)


def parts_of(text: str, size: int = PIECE) -> Iterator[str]:
    """A text in parts of `size` characters, cut anywhere."""
    return (text[start : start + size] for start in range(0, len(text), size))


def _last_edge(text: str) -> int:
    """The last place where words begin for certain, or 0."""
    for start in (max(len(text) - _NEAR, 0), 0):
        edges = [match.start() for match in _EDGE.finditer(text, start)]
        if edges:
            return edges[-1]
    return 0
