"""minillm's own file, and which format a file has."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from format_cases import changed, ids_of, refused, trained
from test_formats_llama2c import SMALL

from minillm.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer
from minillm.tokenizer.files import load_tokenizer, save_tokenizer


@pytest.mark.parametrize(
    "tokenizer", [ByteTokenizer(), CharTokenizer("aé\U0001f642 "), trained(), trained("cl100k"), SMALL]
)
def test_every_kind(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tokenizer(tokenizer, tmp_path / "t")
    loaded = load_tokenizer(tmp_path / "t")
    assert type(loaded) is type(tokenizer)
    assert json.loads(json.dumps(loaded.to_dict())) == json.loads(json.dumps(tokenizer.to_dict()))
    if not isinstance(tokenizer, CharTokenizer):
        assert ids_of(loaded) == ids_of(tokenizer)


def test_the_format_is_seen_from_what_the_file_holds(tmp_path: Path) -> None:
    tokenizer = trained()
    path = tmp_path / "tokenizer"
    given: dict[str, Any] = {"pattern": "gpt2", "special_tokens": tokenizer.special_tokens}
    formats: list[Any] = ["minillm", "huggingface", "tiktoken"]
    for format in formats:
        save_tokenizer(tokenizer, path, format)
        loaded = load_tokenizer(path, **(given if format == "tiktoken" else {}))
        assert ids_of(loaded) == ids_of(tokenizer)
        if format != "tiktoken":
            refused(lambda: load_tokenizer(path, **given), "pattern and special_tokens are for tiktoken's ranks")
    for content in (b"", b"hello", b"{}", b'{"a": "b"}', b"\x7fELF\x00\x01"):
        path.write_bytes(content)
        refused(lambda: load_tokenizer(path), "holds no tokenizer that minillm knows")
    refused(lambda: load_tokenizer(tmp_path / "absent"), "cannot read the file (No such file or directory)")
    refused(lambda: load_tokenizer(tmp_path), "has no encoder.json with vocab.bpe")


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "t"

    def after(change: Any) -> None:
        save_tokenizer(trained(), path)
        changed(path, path, change)

    def fields(**values: Any) -> Any:
        return lambda content: content["tokenizer"].update(values)

    for change, message in [
        (lambda content: content.update(version=2), "has version 2 of the format and this minillm reads 1"),
        (lambda content: content.pop("tokenizer"), "damaged"),
        (lambda content: content.update(tokenizer=[1]), "damaged"),
        (fields(name="wordpiece"), "unknown tokenizer 'wordpiece'"),
        (fields(tokens=["I"]), "damaged"),
        (fields(tokens=[5]), "which do not make one"),
        (fields(merges=[[1]]), "damaged"),
        (fields(merges=[[1, "a"]]), "which do not make one"),
        (fields(merges=[[1, 9999]]), "9999 is none of this vocabulary"),
        (fields(pattern="("), "is no regular expression"),
        (fields(special_tokens={"a": 5}), "which is taken"),
        (fields(special_tokens={"a": 2**70}), "has the id 1180591620717411303424, which is too high"),
        (fields(special_tokens={"a": -1}), "has the id -1, which is below 0"),
        (fields(more=1), "which do not make one"),
    ]:
        after(change)
        refused(lambda: load_tokenizer(path), message)
        refused(lambda: load_tokenizer(path), str(path))
    save_tokenizer(trained(), path)
    path.write_bytes(path.read_bytes()[:-1])
    refused(lambda: load_tokenizer(path), "the file is no JSON, or was cut short")


@pytest.mark.parametrize("format", ["huggingface", "gpt2", "tiktoken", "llama2c"])
def test_what_is_for_bpe_only(tmp_path: Path, format: Any) -> None:
    refused(lambda: save_tokenizer(CharTokenizer("ab"), tmp_path / "t", format), "a char tokenizer cannot be saved")
    assert list(tmp_path.iterdir()) == []


def test_unknown_format(tmp_path: Path) -> None:
    refused(
        lambda: save_tokenizer(trained(), tmp_path / "t", "sentencepiece"),  # type: ignore[arg-type]
        "unknown format 'sentencepiece': choose one of minillm, huggingface, gpt2, tiktoken, llama2c",
    )


@pytest.mark.parametrize("format", ["minillm", "huggingface", "tiktoken", "llama2c", "gpt2"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    tokenizer = SMALL if format == "llama2c" else trained()
    path = tmp_path if format == "gpt2" else tmp_path / "t"
    save_tokenizer(tokenizer, path, format)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    refused(lambda: save_tokenizer(tokenizer, path, format), "No space left on device")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
