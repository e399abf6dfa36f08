"""Hugging Face's `tokenizer.json`, of byte-level BPE: the one file of the `tokenizers` library.

Hugging Face finds special tokens in any text: its `encode(text)` is `encode(text, allowed_special="all")` here. So are
added tokens that it does not call special.

It orders the merges of one token as its file does, and takes the first; here the merge further left is taken first.
That can make a difference only where a token can be made in several ways, as in what was made of tiktoken's ranks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer.bpe import BPETokenizer
from minillm.tokenizer.formats.reading import about, check_every_token_is_made, check_id, read_object
from minillm.tokenizer.formats.strings import ids_of, merges_of, pairs_of, tokens_of
from minillm.tokenizer.split import PATTERNS
from minillm.tokenizer.vocabulary import Vocabulary

# Patterns as Hugging Face's regular expressions, Oniguruma's, have to say them: {1,3}+ is {1,3} repeated to them, and
# no possessive repetition.
_PATTERNS = {"cl100k": PATTERNS["cl100k"].replace("{1,3}+", "{1,3}")}
_READ_OTHERWISE = re.compile(r"\{\d*,?\d*\}\+|(?<!\\)\$|(?<![\\\[])\^|\\Z|\\h|&&")  # ^ and $ are ends of lines to it

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_NOT_USED = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")  # of the model
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False}  # flags of an added token


def load(path: Path) -> BPETokenizer:
    """The tokenizer in a file.

    Raises:
        UserError: the file cannot be read or is damaged, or has what minillm's tokenizer does not do, such as
            normalizing.
    """
    with about(path):
        content = read_object(path)
        model = content.get("model")
        if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
            kind = model.get("type") if isinstance(model, dict) else model
            raise UserError(f"the model is {kind!r}: minillm reads those of the type BPE")
        for name in ("normalizer", "truncation", "padding"):
            _refuse_unless(not content.get(name), name, content.get(name))
        for name in _NOT_USED:
            _refuse_unless(not model.get(name), name, model.get(name))
        for name in ("post_processor", "decoder"):
            part = content.get(name)
            _refuse_unless(not part or _type(part) == "ByteLevel", name, part)
        pattern = _pattern(content.get("pre_tokenizer"))
        special = _special_tokens(content.get("added_tokens") or [])
        ids, merges = model.get("vocab"), model.get("merges")
        if not isinstance(ids, dict) or not isinstance(merges, list):
            raise UserError("the model has no vocab with merges: get the file again")
        for name in special.keys() & ids.keys():
            if ids[name] != special[name]:
                raise UserError(f"the added token {name!r} has the ids {special[name]} and {ids[name]}: give it one")
        vocabulary = Vocabulary(tokens_of(ids, special), pairs_of(_merges(merges), ids, special))
        _check_merges_of_a_token_are_together(vocabulary)
        if model.get("ignore_merges"):
            check_every_token_is_made(vocabulary)  # if so, there is no difference
        return BPETokenizer(vocabulary, pattern=pattern, special_tokens=special)


def save(tokenizer: BPETokenizer, path: Path) -> None:
    """Write a file from which `tokenizers.Tokenizer.from_file` gives the same ids.

    Raises:
        UserError: a special token is written as another token is, Hugging Face reads the split pattern otherwise, or
            the file cannot be written.
    """
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": name, **_PLAIN, "normalized": False, "special": True}
            for name, id in sorted(tokenizer.special_tokens.items(), key=lambda entry: entry[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids_of(tokenizer.vocabulary, tokenizer.special_tokens),  # an added token's own id may be ignored
            "merges": merges_of(tokenizer.vocabulary),  # as one text each: every version of tokenizers reads that
        },
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")


def _pattern(pre_tokenizer: Any) -> str:
    """The split pattern of `pre_tokenizer`: its name in PATTERNS, or the regular expression."""
    parts = pre_tokenizer.get("pretokenizers") if _type(pre_tokenizer) == "Sequence" else [pre_tokenizer]
    types = [_type(part) for part in parts] if isinstance(parts, list) else []
    _refuse_unless(types in (["ByteLevel"], ["Split", "ByteLevel"]), "pre_tokenizer", pre_tokenizer)
    first, last = parts[0], parts[-1]
    _refuse_unless(not last.get("add_prefix_space", True), "pre_tokenizer", last)
    _refuse_unless(last.get("use_regex", True) == (first is last), "pre_tokenizer", pre_tokenizer)
    if first is last:
        return "gpt2"
    how = (str(first.get("behavior")).lower(), bool(first.get("invert")))
    _refuse_unless(how in (("isolated", False), ("removed", True)), "pre_tokenizer", first)
    expression: str = first["pattern"].get("Regex", "") if isinstance(first.get("pattern"), dict) else ""
    _refuse_unless(expression != "", "pre_tokenizer", first)
    for name, written in {**PATTERNS, **_PATTERNS}.items():
        if expression == written:
            return name
    return _alike(expression)


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    """What cuts text as `pattern` does: what it does not match is left out."""
    names = {expression: name for name, expression in PATTERNS.items()}
    name = names.get(pattern, pattern)
    if name == "gpt2":
        return _BYTE_LEVEL
    expression = _PATTERNS.get(name) or _alike(pattern)
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Removed", "invert": True}
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}]}


def _alike(expression: str) -> str:
    """`expression`, if it has nothing that the two kinds of regular expression are known to read otherwise."""
    found = _READ_OTHERWISE.search(expression)
    if found:
        raise UserError(
            f"the split pattern {expression!r} has {found.group()!r}, which Hugging Face's regular expressions read "
            "otherwise than Python's: write the pattern without it"
        )
    return expression


def _special_tokens(added: Any) -> dict[str, int]:
    """The ids of added tokens by name."""
    _refuse_unless(isinstance(added, list), "added_tokens", added)
    special: dict[str, int] = {}
    for token in added:
        name = token.get("content") if isinstance(token, dict) else None
        if not isinstance(name, str) or not name or name in special:
            raise UserError(f"the added token {token!r} has no content, or one that is there twice: get the file again")
        special[name] = check_id(name, token.get("id"))
        for flag in _PLAIN:
            _refuse_unless(not token.get(flag), flag, f"of the added token {name!r}")
    return special


def _merges(merges: list[Any]) -> Iterator[tuple[str, str, str]]:
    """The place and the two halves of each merge, which is "a b" in older files and ["a", "b"] in newer ones."""
    for place, merge in enumerate(merges):
        halves = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(halves, list) or len(halves) != 2 or not all(isinstance(half, str) for half in halves):
            raise UserError(f"merge {place} is {merge!r} and not two tokens: get the file again")
        yield f"merge {place}", halves[0], halves[1]


def _check_merges_of_a_token_are_together(vocabulary: Vocabulary) -> None:
    """Raise UserError if merges that make one token stand apart: Hugging Face ranks each by itself."""
    in_file = [vocabulary.ranks[pair] for pair in vocabulary.merges]
    for place, (before, rank) in enumerate(pairwise(in_file), start=1):
        if rank < before:
            raise UserError(
                f"merge {place} makes token {vocabulary.made[rank]}, which an earlier merge makes too with others "
                "between: minillm does all merges of one token at the first one's rank, so put them together"
            )


def _refuse_unless(known: bool, name: str, value: Any) -> None:
    if not known:
        text = value if isinstance(value, str) else json.dumps(value)
        raise UserError(
            f"{name} {text[:200]} is nothing that minillm's tokenizer does: "
            "use a byte-level BPE without normalizing, prefix spaces, dropout or added text"
        )


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None
