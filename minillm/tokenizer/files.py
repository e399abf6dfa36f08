"""A tokenizer in a file of any format: which one it is, is seen from what the file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from minillm.errors import UserError
from minillm.tokenizer import BPETokenizer, Llama2cTokenizer, Tokenizer
from minillm.tokenizer.formats import gpt2, huggingface, llama2c, own, tiktoken
from minillm.tokenizer.formats.reading import about, read_bytes, read_object

Format = Literal["minillm", "huggingface", "gpt2", "tiktoken", "llama2c"]

GPT2_FILES = [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")]  # GPT-2's names, and Hugging Face's

_RANK = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")  # a line of tiktoken's


def load_tokenizer(
    path: str | Path, *, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None
) -> Tokenizer:
    """The tokenizer in a file, or in a folder that has GPT-2's two files.

    Args:
        path: minillm's own file, Hugging Face's tokenizer.json, GPT-2's encoder.json with vocab.bpe beside it (also as
            vocab.json and merges.txt), tiktoken's ranks, or llama2.c's tokenizer.bin.
        pattern, special_tokens: what tiktoken's files do not have, and the others do.

    Raises:
        UserError: the file cannot be read, is of no known format or damaged, or lacks what is to be given.
    """
    path = Path(path)
    if path.is_dir():
        path = _ids_file_in(path)
    with about(path):
        data = read_bytes(path)
        is_ranks = _RANK.match(data)
        if not is_ranks and (pattern, special_tokens) != (None, None):
            raise UserError("pattern and special_tokens are for tiktoken's ranks, which this file does not hold")
        if is_ranks and pattern is None:
            raise UserError("tiktoken's ranks come without a split pattern: give the pattern, such as 'cl100k'")
        content = read_object(path) if data.lstrip()[:1] == b"{" else {}
    if pattern is not None:
        return tiktoken.load(path, pattern=pattern, special_tokens=special_tokens)
    if content.get("format") == own.FORMAT:
        return own.load(path)
    if "model" in content and isinstance(content["model"], dict):
        return huggingface.load(path)
    if content and all(isinstance(id, int) for id in content.values()):
        return BPETokenizer.from_gpt2_files(path, _merges_beside(path))
    if b"<0x00>" in data[:256]:
        return llama2c.load(path)
    raise UserError(
        f"{str(path)!r} holds no tokenizer that minillm knows: give its own file, Hugging Face's tokenizer.json, "
        "GPT-2's encoder.json beside vocab.bpe, tiktoken's ranks or llama2.c's tokenizer.bin"
    )


def save_tokenizer(tokenizer: Tokenizer, path: str | Path, format: Format = "minillm") -> None:
    """Write a tokenizer to a file; for GPT-2's format to encoder.json and vocab.bpe in the folder `path`.

    Raises:
        UserError: the format is unknown or cannot hold this tokenizer, or a file cannot be written.
    """
    path = Path(path)
    if format == "minillm":
        own.save(tokenizer, path)
    elif format == "llama2c" and isinstance(tokenizer, Llama2cTokenizer):
        llama2c.save(tokenizer, path)
    elif format == "llama2c":
        raise UserError(
            f"a {tokenizer.name} tokenizer cannot be saved for llama2.c, whose run.c puts a space before a text and "
            "does not cut it into words, so that ids would differ: save it in another format"
        )
    elif format not in get_args(Format):
        raise UserError(f"unknown format {format!r}: choose one of {', '.join(get_args(Format))}")
    elif not isinstance(tokenizer, BPETokenizer):
        raise UserError(
            f"a {tokenizer.name} tokenizer cannot be saved as {format}, which is for bpe: save it as minillm"
        )
    elif format == "huggingface":
        huggingface.save(tokenizer, path)
    elif format == "tiktoken":
        tiktoken.save(tokenizer, path)
    else:
        gpt2.write(tokenizer, *(path / name for name in GPT2_FILES[0]))


def _ids_file_in(folder: Path) -> Path:
    """The one of GPT-2's two files that has the ids."""
    for ids, merges in GPT2_FILES:
        if (folder / ids).exists() and (folder / merges).exists():
            return folder / ids
    raise UserError(f"the folder {str(folder)!r} has no encoder.json with vocab.bpe: give a file, or such a folder")


def _merges_beside(ids_file: Path) -> Path:
    """The one of GPT-2's two files that has the merges."""
    for _, merges in GPT2_FILES:
        if ids_file.with_name(merges).exists():
            return ids_file.with_name(merges)
    raise UserError(f"{str(ids_file)!r} has ids but no merges, and no vocab.bpe lies beside it: put it there")
