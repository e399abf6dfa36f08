"""How a text is cut into tokens, for people: the text in colours, a table of tokens, the merges one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer, utf8
from minillm.tokenizer.bpe import BPETokenizer
from minillm.tokenizer.merging import Merge, merge_word
from minillm.tokenizer.special import cut
from minillm.tokenizer.split import splitter

BACKGROUNDS = (151, 153, 222, 217, 183)  # of 256 colours; tokens side by side differ
SPECIAL_BACKGROUND = 245
WIDEST = 24  # column of a token's text


def visible(data: bytes) -> str:
    """Bytes as text in which nothing is hidden and nothing moves a terminal's cursor: the rest as \\n, \\x9f, ..."""
    return "".join(c if c.isprintable() else escaped(c) for c in data.decode("utf-8", "backslashreplace"))


def escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def cut_text(tokenizer: Tokenizer, ids: Sequence[int], colours: bool) -> str:
    """The text of the ids (n,) on one line, or more where it has line ends: in colours, or with | between tokens."""
    special = set(tokenizer.special_tokens.values())
    pieces = []
    for place, id in enumerate(ids):
        data = tokenizer.decode_bytes([id])
        text = visible(data)
        if colours:
            background = SPECIAL_BACKGROUND if id in special else BACKGROUNDS[place % len(BACKGROUNDS)]
            text = f"\x1b[30;48;5;{background}m{text}\x1b[0m"
        elif place:
            text = f"|{text}"
        pieces.append(text + ("\n" if b"\n" in data and place < len(ids) - 1 else ""))
    return "".join(pieces)


def table(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[str]:
    """A line for each of the ids (n,): id, text, bytes."""
    rows = [(id, tokenizer.decode_bytes([id])) for id in ids]
    special = set(tokenizer.special_tokens.values())
    width = min(max((len(visible(data)) for _, data in rows), default=0) + 2, WIDEST)
    yield f"{'id':>7}  {'text':{width}}  bytes"
    for id, data in rows:
        shown = "special" if id in special else data.hex(" ")
        yield f"{id:>7}  {_quoted(data):{width}}  {shown}"


def merge_lines(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    """For each distinct word of a text, its merges in order, with the rank of each and what the word is then.

    Raises:
        UserError: the tokenizer has no merges.
    """
    if not isinstance(tokenizer, BPETokenizer):
        raise UserError(f"a {tokenizer.name} tokenizer has no merges to show: leave out --merges")
    split = splitter(tokenizer.pattern)
    parts = [part for part, special in cut(utf8(text).decode(), tokenizer.special_tokens) if not special]
    for word in dict.fromkeys(word for part in parts for word in split(part)):
        yield _quoted(word.encode())
        yield from _merges(tokenizer, word.encode())


def _merges(tokenizer: BPETokenizer, word: bytes) -> Iterator[str]:
    vocabulary, merges = tokenizer.vocabulary, list[Merge]()
    merge_word(word, vocabulary, watch=merges.append)
    tokens = {start: word[start : start + 1] for start in range(len(word))}  # by where they begin
    for merge in merges:
        left, right = (vocabulary.tokens[id] or b"" for id in (merge.left, merge.right))
        del tokens[merge.start + len(left)]
        tokens[merge.start] = left + right
        rank = vocabulary.ranks[merge.left, merge.right]
        now = "|".join(visible(token) for token in tokens.values())
        yield f"  {rank:>7}  {_quoted(left)} + {_quoted(right)} -> {_quoted(left + right)}   {now}"
    if not merges:
        yield "  no merges" if len(word) > 1 else "  one byte"


def _quoted(data: bytes) -> str:
    return f'"{visible(data)}"'
