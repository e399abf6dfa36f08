"""GPT-2's two files: `encoder.json`, the id of each token, and `vocab.bpe`, the merges (openai/gpt-2, `encoder.py`).

Hugging Face calls them `vocab.json` and `merges.txt`. They name neither a split pattern, which is GPT-2's, nor which
tokens are special.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer.formats.reading import about, check_id, read_object, read_text
from minillm.tokenizer.formats.strings import ids_of, merges_of, pairs_of, tokens_of
from minillm.tokenizer.split import PATTERNS
from minillm.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    from minillm.tokenizer.bpe import BPETokenizer

HEADER = "#version: 0.2"


def read(encoder_json: Path, vocab_bpe: Path, special_tokens: Collection[str]) -> tuple[Vocabulary, dict[str, int]]:
    """The vocabulary in two files, and the ids of those of the special tokens that it has.

    Raises:
        UserError: a file cannot be read, is of another kind, was cut short, or does not belong to the other.
    """
    with about(encoder_json):
        ids = read_object(encoder_json)
        special = {name: check_id(name, ids[name]) for name in special_tokens if name in ids}
        tokens = tokens_of(ids, special)
    with about(vocab_bpe):
        pairs = pairs_of(_merges(read_text(vocab_bpe)), ids, special)
    with about(encoder_json, vocab_bpe):
        vocabulary = Vocabulary(tokens, pairs)
        made = set(vocabulary.made)
        for id, token in enumerate(tokens):
            if token and len(token) > 1 and id not in made:
                raise UserError(
                    f"no merge makes token {id}, {token!r}, so the merges were cut short or belong to another "
                    "vocabulary: get both files again, or if it is special name it to BPETokenizer.from_gpt2_files"
                )
    return vocabulary, special


def write(tokenizer: BPETokenizer, encoder_json: Path, vocab_bpe: Path) -> None:
    """Write the two files. Which tokens are special is not in them.

    Raises:
        UserError: the tokenizer splits otherwise than GPT-2, or a file cannot be written.
    """
    if tokenizer.pattern not in ("gpt2", PATTERNS["gpt2"]):
        raise UserError(
            f"GPT-2's files are for its own split pattern and not for {tokenizer.pattern!r}: "
            "save the tokenizer in another format"
        )
    ids = ids_of(tokenizer.vocabulary, tokenizer.special_tokens)
    with replacing(vocab_bpe) as merges_file, replacing(encoder_json) as ids_file:
        ids_file.write_text(json.dumps(ids), "utf-8")
        merges_file.write_bytes("".join(f"{line}\n" for line in [HEADER, *merges_of(tokenizer.vocabulary)]).encode())


def _merges(text: str) -> Iterator[tuple[str, str, str]]:
    """The number of the line and the two halves, of each merge."""
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        halves = line.split(" ")
        if number == 1 and line.startswith("#version"):
            continue
        if len(halves) != 2 or "" in halves:
            raise UserError(
                f"line {number} is {line[:80]!r} and not two tokens with a space between: get the file again, or give "
                "the merges and not another file"
            )
        yield f"line {number}", halves[0], halves[1]
