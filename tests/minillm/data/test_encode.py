"""Token folders: what is in them, and that work which is done is not done again."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS

from minillm.data import encode, list_files, open_tokens
from minillm.data.encode import encode_files
from minillm.data.token_file import write_token_parts
from minillm.data.token_folder import INDEX_FILE, TOKENIZER_FILE, is_token_folder, open_token_folder, read_index
from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from minillm.tokenizer.files import save_tokenizer
from minillm.tokenizer.pieces import in_pieces
from minillm.tokenizer.special import END_OF_TEXT

TEXTS = {"a.txt": "the cat sat on the mat", "b.txt": "the dog sat on the log\n" * 9, "c.txt": "été — 🙂"}
BPE = BPETokenizer.train(TEXTS.values(), vocab_size=270, special_tokens=[END_OF_TEXT])
END = BPE.special_tokens[END_OF_TEXT]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are encoded, as they are."""
    names: list[str] = []
    real = encode.text_parts

    def spy(path: Path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(encode, "text_parts", spy)
    return names


def run(source: Path, out: Path, tokenizer: Tokenizer = BPE, **options):
    return encode_files(list_files([str(source)]), tokenizer, out, **{"end_of_text": END_OF_TEXT, **options})


@pytest.mark.parametrize("workers", [1, 3])
def test_documents_one_after_another_each_with_the_end_of_text(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(encode, "COPIED_AT_ONCE", 7)
    (source / "binary").write_bytes(b"\xff\0")
    (source / "empty.txt").touch()
    (source / "same.txt").write_text(TEXTS["a.txt"])  # its tokens are needed twice
    done = run(source, tmp_path / "out", workers=workers)
    documents = [*TEXTS.values(), TEXTS["a.txt"]]
    expected = [id for text in documents for id in [*BPE.encode(text), END]]
    assert (done.n_tokens, done.n_documents, done.n_kept, done.n_binary) == (len(expected), 4, 0, 1)
    folder = open_token_folder(tmp_path / "out")
    np.testing.assert_array_equal(folder.tokens, expected)
    assert isinstance(folder.tokens, np.memmap)
    assert folder.tokens.dtype == np.uint16
    assert folder.tokenizer.to_dict() == BPE.to_dict()
    for place, text in zip(read_index(tmp_path / "out")["documents"], documents, strict=True):
        assert folder.tokenizer.decode(folder.tokens[place["start"] : place["end"] - 1]) == text
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[:2] == [INDEX_FILE, TOKENIZER_FILE]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_only_what_is_new_or_changed_is_encoded(source: Path, tmp_path: Path, encoded: list[str]) -> None:
    out = tmp_path / "out"
    run(source, out)
    before = open_token_folder(out).digest
    encoded.clear()
    assert run(source, out).n_kept == 3
    assert (encoded, open_token_folder(out).digest) == ([], before)
    (source / "b.txt").write_text("a cat and a dog")
    (source / "a.txt").rename(source / "z.txt")
    assert run(source, out).n_kept == 2
    assert encoded == ["b.txt"]
    folder = open_token_folder(out)
    texts = ["a cat and a dog", TEXTS["c.txt"], TEXTS["a.txt"]]
    np.testing.assert_array_equal(folder.tokens, [id for text in texts for id in [*BPE.encode(text), END]])
    assert folder.digest != before
    assert len(list(out.glob("*.npy"))) == 1


def test_a_run_that_died_goes_on(
    source: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, straight = tmp_path / "out", tmp_path / "straight"
    (source / "d.txt").write_text(f"a{END_OF_TEXT}b")
    with pytest.raises(UserError, match=r"d.txt' has the special token '<\|endoftext\|>' at character 1: give"):
        run(source, out)
    assert is_token_folder(out)
    with pytest.raises(UserError, match="are not all there"):
        open_token_folder(out)
    assert len(list((out / "parts").iterdir())) == 3
    encoded.clear()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # at the last moment
        patch.setattr(encode, "write_index", die)
        with pytest.raises(KeyboardInterrupt):
            run(source, out, special="text")
    assert encoded == ["d.txt"]
    with pytest.raises(UserError, match="are not all there"):
        open_token_folder(out)
    run(source, out, special="text")
    assert encoded == ["d.txt"]
    run(source, straight, special="text")
    np.testing.assert_array_equal(open_token_folder(out).tokens, open_token_folder(straight).tokens)
    assert not (out / "parts").exists()


def test_equal_files_are_encoded_once_by_whoever_comes_first(
    source: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=HANGS)
    real = encode.hashlib.file_digest

    def together(*arguments):
        digest = real(*arguments)
        both.wait()
        return digest

    monkeypatch.setattr(encode.hashlib, "file_digest", together)
    monkeypatch.setattr(encode, "write_token_parts", lambda *a: time.sleep(0.1) or write_token_parts(*a))
    for name in TEXTS:
        (source / name).unlink()
    for name in ("a.txt", "b.txt"):
        (source / name).write_text("the same")
    assert run(source, tmp_path / "out", workers=2).n_documents == 2
    assert len(encoded) == 1
    np.testing.assert_array_equal(open_token_folder(tmp_path / "out").tokens, [*BPE.encode("the same"), END] * 2)


def test_a_special_token_is_found_anywhere_in_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("some words " * 100 + END_OF_TEXT)
    monkeypatch.setattr("minillm.data.corpus.BLOCK", 100)
    monkeypatch.setattr(encode, "in_pieces", lambda parts: in_pieces(parts, 300))
    with pytest.raises(UserError, match="at character 1100: "):
        run(tmp_path / "a.txt", tmp_path / "out")


@pytest.mark.parametrize(("special", "expected"), [("token", [END]), ("text", BPE.encode_ordinary(END_OF_TEXT))])
def test_what_names_of_special_tokens_are(source: Path, tmp_path: Path, special: str, expected: list[int]) -> None:
    (source / "a.txt").write_text(f"x{END_OF_TEXT}y")
    encode_files(list_files([str(source / "a.txt")]), BPE, tmp_path / "out", end_of_text=END_OF_TEXT, special=special)
    ids = [*BPE.encode("x"), *expected, *BPE.encode("y"), END]
    np.testing.assert_array_equal(open_token_folder(tmp_path / "out").tokens, ids)


@pytest.mark.parametrize(
    "tokenizer",
    [
        BPE,
        BPETokenizer.train("the cat", pattern=r"\w+|\W+", vocab_size=257, special_tokens=[END_OF_TEXT]),
        BPETokenizer.train("the cat", vocab_size=258, special_tokens=[END_OF_TEXT, "to the"]),
    ],
    ids=["gpt2", "expression", "special with a space"],
)
def test_a_long_file_is_encoded_as_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer
) -> None:
    text = "the cat  sat\n\n to the mat; it's 12 o'clock\n" * 400
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr("minillm.data.corpus.BLOCK", 100)
    monkeypatch.setattr(encode, "in_pieces", lambda parts: in_pieces(parts, 300))
    options = {"end_of_text": END_OF_TEXT, "special": "token"}
    encode_files(list_files([str(tmp_path / "a.txt")]), tokenizer, tmp_path / "out", **options)
    expected = [*tokenizer.encode(text, allowed_special="all"), tokenizer.special_tokens[END_OF_TEXT]]
    np.testing.assert_array_equal(open_token_folder(tmp_path / "out").tokens, expected)


def test_refusals_before_and_after(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no special token '</s>' to put between 3 documents, it has"):
        run(source, out, end_of_text="</s>")
    with pytest.raises(UserError, match="it has none"):
        run(source, out, ByteTokenizer())
    (source / "empty").mkdir()
    (source / "empty" / "e.txt").touch()
    with pytest.raises(UserError, match="there is no text"):
        run(source / "empty", out)
    with pytest.raises(UserError, match="character 'é' at position"):
        encode_files(list_files([str(source / "c.txt")]), CharTokenizer("abc"), out, end_of_text="")
    assert not out.exists()
    with pytest.raises(UserError, match="is no token folder: give --out a folder that is new or empty"):
        run(source, source)
    run(source, out)
    other = BPETokenizer.train("other", vocab_size=257, special_tokens=[END_OF_TEXT])
    with pytest.raises(UserError, match="was made with another tokenizer"):
        run(source, out, other)


def test_a_folder_that_was_tampered_with(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, out)
    file = out / read_index(out)["tokens"]
    shutil.copy(file, tmp_path / "copy.npy")
    np.save(file, np.load(file).astype(np.uint32))
    with pytest.raises(UserError, match="holds uint32 of shape"):
        open_token_folder(out)
    np.save(file, open_tokens(tmp_path / "copy.npy", BPE.vocab_size)[:-1])
    with pytest.raises(UserError, match=r"tokens and index.json says"):
        open_token_folder(out)
    save_tokenizer(BPETokenizer.train(TEXTS["b.txt"], vocab_size=260), out / TOKENIZER_FILE)
    with pytest.raises(UserError, match="is not the tokenizer that made the tokens beside it"):
        open_token_folder(out)
    with replacing(out / INDEX_FILE) as temporary:
        temporary.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        open_token_folder(out)
    assert not is_token_folder(source)
