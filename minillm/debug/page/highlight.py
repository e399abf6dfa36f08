"""Python source in pieces that have colours: keywords, strings, comments, numbers, names that are defined."""

from __future__ import annotations

import io
import keyword
import token
import tokenize

Span = tuple[str, str]  # (class in page.css or "", text)

_KINDS = {tokenize.COMMENT: "c", tokenize.STRING: "s", tokenize.NUMBER: "m"}
_F_STRING = {"FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}  # tokens of their own since Python 3.12


def highlight(lines: list[str]) -> list[list[Span]]:
    """The spans of each line; together they are the line, character by character."""
    marks: list[list[tuple[int, int, str]]] = [[] for _ in lines]  # of each line (start, stop, kind)
    for row, start, stop, kind in _marks(lines):
        marks[row].append((start, stop, kind))
    return [_spans(line, found) for line, found in zip(lines, marks, strict=True)]


def _marks(lines: list[str]) -> list[tuple[int, int, int, str]]:
    """(line, start, stop, kind) of all that has a colour; as far as the source can be read."""
    found, previous = [], ""
    try:
        for part in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
            kind = "s" if token.tok_name[part.type] in _F_STRING else _KINDS.get(part.type, "")
            if part.type == tokenize.NAME:
                defined = previous in ("def", "class")
                kind = "k" if keyword.iskeyword(part.string) else "d" if defined else ""
            previous = part.string
            if kind:
                (top, left), (bottom, right) = part.start, part.end
                for row in range(top - 1, min(bottom, len(lines))):
                    start = left if row == top - 1 else 0
                    found.append((row, start, right if row == bottom - 1 else len(lines[row]), kind))
    except (tokenize.TokenError, SyntaxError):  # a part of a file need not be whole; what was read keeps its colours
        pass
    return found


def _spans(line: str, marks: list[tuple[int, int, str]]) -> list[Span]:
    spans, end = [], 0
    for start, stop, kind in marks:
        spans += [("", line[end:start]), (kind, line[start:stop])]
        end = stop
    spans.append(("", line[end:]))
    return [(kind, text) for kind, text in spans if text]
