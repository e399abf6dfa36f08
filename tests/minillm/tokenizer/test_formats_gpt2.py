"""GPT-2's encoder.json and vocab.bpe, read and written."""

import hashlib
import json
from pathlib import Path

import pytest
from format_cases import END, GPT2, TEXTS, changed, ids_of, needs_gpt2, refused, trained

from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.byte_characters import CHARACTERS, from_characters, to_characters
from minillm.tokenizer.files import load_tokenizer, save_tokenizer
from minillm.tokenizer.split import PATTERNS


def test_bytes_as_characters() -> None:
    assert len(set(CHARACTERS)) == 256
    assert to_characters(b" a\n\x00!\xff\xad") == "ĠaĊĀ!ÿŃ"
    assert from_characters(CHARACTERS) == bytes(range(256))


@needs_gpt2
def test_ids_of_gpt2_are_tiktokens() -> None:
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is an optional peer")
    load = pytest.importorskip("tiktoken.load")
    names = {"encoder.json": "19613966", "vocab.bpe": "1ce16647"}
    for name, start in names.items():
        assert hashlib.sha256((GPT2 / name).read_bytes()).hexdigest().startswith(start)
    ours = BPETokenizer.from_gpt2_files(GPT2 / "encoder.json", GPT2 / "vocab.bpe")
    assert ours.special_tokens == {END: 50256}
    assert ours.vocab_size == 50257
    ranks = load.data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(GPT2 / "vocab.bpe"), encoder_json_file=str(GPT2 / "encoder.json")
    )
    peer = tiktoken.Encoding(
        "gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={END: 50256}, explicit_n_vocab=50257
    )
    assert ids_of(ours) == ids_of(peer)


@needs_gpt2
def test_gpt2s_files_are_written_byte_for_byte(tmp_path: Path) -> None:
    save_tokenizer(load_tokenizer(GPT2), tmp_path, "gpt2")
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / name).read_bytes() == (GPT2 / name).read_bytes()


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_round_trip(tmp_path: Path, names: tuple[str, str]) -> None:
    tokenizer = trained()
    save_tokenizer(tokenizer, tmp_path, "gpt2")
    for written, name in zip(("encoder.json", "vocab.bpe"), names, strict=True):
        (tmp_path / written).rename(tmp_path / name)
    for path in (tmp_path, tmp_path / names[0]):
        loaded = load_tokenizer(path)
        assert isinstance(loaded, BPETokenizer)
        assert loaded.to_dict() == tokenizer.to_dict()
    merges = tmp_path / names[1]
    merges.write_bytes(merges.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))  # as other editors leave it
    assert load_tokenizer(tmp_path).to_dict() == tokenizer.to_dict()
    assert [loaded.decode(ids) for ids in ids_of(loaded)] == TEXTS


def test_special_tokens_of_other_names(tmp_path: Path) -> None:
    tokenizer = BPETokenizer(trained().vocabulary, special_tokens={"<pad>": 599, "a b": 600})
    save_tokenizer(tokenizer, tmp_path, "gpt2")
    refused(lambda: load_tokenizer(tmp_path), "token 600 is 'a b', in which ' ' stands for no byte")
    files = tmp_path / "encoder.json", tmp_path / "vocab.bpe"
    refused(lambda: BPETokenizer.from_gpt2_files(*files, special_tokens={"a b"}), "no merge makes token 599, b'<pad>'")
    loaded = BPETokenizer.from_gpt2_files(*files, special_tokens=["a b", "<pad>", "<s>"])
    assert loaded.to_dict() == tokenizer.to_dict()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tokenizer(trained(), tmp_path, "gpt2")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Ġ", "line 4 is 'Ġ' and not two tokens with a space between"),
        ("a b c", "line 4 is 'a b c' and not two"),
        ("Ġ zzzzq", "line 4 merges 'Ġ' and 'zzzzq', and 'zzzzq' is no token of the vocabulary"),
        ("", "line 4 is '' and not two tokens"),
        ("Z Z", "merge 2 makes b'ZZ', which is no token"),
    ],
)
def test_merges_that_are_none(folder: Path, line: str, message: str) -> None:
    lines = (folder / "vocab.bpe").read_text("utf-8").split("\n")
    (folder / "vocab.bpe").write_text("\n".join([*lines[:3], line, *lines[4:]]), "utf-8")
    refused(lambda: load_tokenizer(folder), message)


@pytest.mark.parametrize("size", [0, 13, 14, 500, -2])
def test_merges_cut_short(folder: Path, size: int) -> None:
    path = folder / "vocab.bpe"
    path.write_bytes(path.read_bytes()[:size])
    refused(lambda: load_tokenizer(folder), "vocab.bpe'")


def test_ids_cut_short_or_changed(folder: Path) -> None:
    ids = folder / "encoder.json"
    text = ids.read_bytes()

    def load() -> object:
        return BPETokenizer.from_gpt2_files(ids, folder / "vocab.bpe")

    def after(**values: object) -> None:
        changed(ids, ids, lambda content: content.update(values))

    ids.write_bytes(text[:1000])
    refused(load, "encoder.json': the file is no JSON, or was cut short")
    ids.write_bytes(b"[1]")
    refused(load, "encoder.json': the file holds a JSON list and no object")
    ids.write_bytes(b"\x80\x00")
    refused(load, "encoder.json': byte 0 is not UTF-8")
    ids.unlink()
    refused(load, "encoder.json': cannot read the file (No such file")
    for value in (-1, "5", 1.0, True, None, 2**40):
        ids.write_bytes(text)
        after(a=value)
        refused(load, f"token b'a' has the id {value!r}: ids are whole numbers")
    ids.write_bytes(text)
    after(a=5)
    refused(load, "token 5 is ")
    ids.write_bytes(text)
    after(a=1000)
    refused(load, "no token has the id 64, though ids go up to 1000")
    ids.write_bytes(text)
    after(**{"a b": 600})
    refused(load, "token 600 is 'a b', in which ' ' stands for no byte")
    ids.write_bytes(text)
    after(zz=600)
    refused(load, "vocab.bpe': no merge makes token 600, b'zz'")


def test_what_the_format_cannot_hold(tmp_path: Path) -> None:
    refused(lambda: save_tokenizer(trained("cl100k"), tmp_path, "gpt2"), "GPT-2's files are for its own split pattern")
    tokenizer = trained()
    alike = BPETokenizer(tokenizer.vocabulary, special_tokens={"Ġ": 700})
    refused(lambda: save_tokenizer(alike, tmp_path, "gpt2"), "the special token 'Ġ' and token 220 are written alike")
    assert list(tmp_path.iterdir()) == []
    refused(lambda: save_tokenizer(tokenizer, tmp_path / "absent", "gpt2"), "cannot write")


def test_merges_file_of_another_vocabulary_beside_it(folder: Path) -> None:
    (folder / "vocab.bpe").unlink()
    refused(lambda: load_tokenizer(folder), "has no encoder.json with vocab.bpe")
    refused(lambda: load_tokenizer(folder / "encoder.json"), "has ids but no merges")
    (folder / "vocab.bpe").write_text(json.dumps({}), "utf-8")
    refused(lambda: load_tokenizer(folder), "line 1 is '{}' and not two tokens")
