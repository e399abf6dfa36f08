"""llama2.c's `tokenizer.bin`: the length of the longest piece, then for each its score, its length and its bytes.

All numbers are little-endian, four bytes each, the scores float32. How many pieces there are is not in the file.
"""

from __future__ import annotations

import struct
from pathlib import Path

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer.formats.reading import about, read_bytes
from minillm.tokenizer.llama2c import Llama2cTokenizer

_LONGEST = struct.Struct("<i")
_SCORE_AND_LENGTH = struct.Struct("<fi")


def load(path: Path) -> Llama2cTokenizer:
    """The tokenizer in a file. Raises UserError if it cannot be read, was cut short or is of another kind."""
    with about(path):
        data = read_bytes(path)
        if len(data) < _LONGEST.size:
            raise UserError(f"the file has {len(data)} bytes and no pieces: get it again")
        (longest,) = _LONGEST.unpack_from(data)
        pieces: list[bytes] = []
        scores: list[float] = []
        start = _LONGEST.size
        while start < len(data):
            end = start + _SCORE_AND_LENGTH.size
            if end <= len(data):
                score, length = _SCORE_AND_LENGTH.unpack_from(data, start)
                if not 0 < length <= longest:
                    raise UserError(
                        f"piece {len(pieces)} has {length} bytes, of 1 to {longest} as the file begins: "
                        "it is damaged, or no tokenizer.bin"
                    )
                end += length
            if end > len(data):
                raise UserError(f"the file ends inside piece {len(pieces)}: it was cut short, or is no tokenizer.bin")
            pieces.append(data[end - length : end])
            scores.append(score)
            start = end
        return Llama2cTokenizer(pieces, scores)


def save(tokenizer: Llama2cTokenizer, path: Path) -> None:
    """Write the tokenizer. Raises UserError if the file cannot be written."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_LONGEST.pack(max(map(len, tokenizer.pieces))))
        for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True):
            file.write(_SCORE_AND_LENGTH.pack(score, len(piece)) + piece)
