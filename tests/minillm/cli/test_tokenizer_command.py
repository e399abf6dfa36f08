"""`minillm tokenizer`: train, show, encode and decode, and what they refuse."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS

from minillm.cli.main import main
from minillm.data.token_folder import open_token_folder
from minillm.tokenizer import BPETokenizer, ByteTokenizer
from minillm.tokenizer.files import load_tokenizer, save_tokenizer
from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.view import visible

Cli = Callable[..., subprocess.CompletedProcess[str]]
TEXT = "the cat sat on the mat, and the other cat sat on the log.\n" * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With text.txt and a tokenizer of it, t.json."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "text.txt").write_text(TEXT)
    save_tokenizer(BPETokenizer.train(TEXT, vocab_size=272, special_tokens=[END_OF_TEXT]), folder / "t.json")
    return folder


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["tokenizer", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("file_format", ["minillm", "huggingface", "gpt2", "tiktoken"])
def test_train_writes_what_the_library_learns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str
) -> None:
    out = tmp_path / "out"
    options = ["--vocab-size", 272, "--min-frequency", 3, "--tie", "first", "--format", file_format]
    assert "272 tokens learned" in output(capsys, "train", folder / "text.txt", "--out", out, *options)
    expected = BPETokenizer.train(TEXT, vocab_size=272, min_frequency=3, tie="first", special_tokens=[END_OF_TEXT])
    special = expected.special_tokens
    is_ranks = file_format == "tiktoken"
    found = load_tokenizer(out, **({"pattern": "gpt2", "special_tokens": special} if is_ranks else {}))
    assert isinstance(found, BPETokenizer)
    assert (found.vocabulary.merges, found.pattern) == (expected.vocabulary.merges, "gpt2")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_show_without_colours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(capsys, "show", f"the cat\né{END_OF_TEXT}", "--tokenizer", folder / "t.json")
    tokenizer = load_tokenizer(folder / "t.json")
    assert shown.startswith(f"the| cat|\\n\n|\\xc3|\\xa9|{END_OF_TEXT}\n\n")
    rows = re.findall(r'^ +(\d+)  "(.*)"  +(.*)$', shown, re.MULTILINE)
    assert [int(id) for id, _, _ in rows] == tokenizer.encode(
        f"the cat\né{END_OF_TEXT}", allowed_special="all"
    ).tolist()
    assert rows[0][2] == b"the".hex(" ")
    assert rows[-1][1:] == (END_OF_TEXT, "special")
    assert shown.endswith("\n6 tokens, 23 bytes\n")


def test_show_merges_ends_with_the_tokens_of_each_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(capsys, "show", f"the the cat{END_OF_TEXT}é", "--tokenizer", folder / "t.json", "--merges")
    tokenizer = load_tokenizer(folder / "t.json")
    assert isinstance(tokenizer, BPETokenizer)
    words = {"the": 2, " the": 3, " cat": 3, "é": 0}  # and how many merges each takes
    for word, n in words.items():
        block = re.search(rf'^"{re.escape(visible(word.encode()))}"\n((?:  .*\n)*)', shown, re.MULTILINE)
        assert block
        lines = block.group(1).splitlines()
        if n:
            assert len(lines) == n
            tokens = [visible(tokenizer.decode_bytes([id])) for id in tokenizer.encode(word)]
            assert lines[-1].endswith("   " + "|".join(tokens))
            ranks = [int(line.split()[0]) for line in lines]
            assert ranks == sorted(ranks)
        else:
            assert lines == ["  no merges"]


def test_nothing_in_a_text_reaches_the_terminal_as_a_command() -> None:
    assert visible("a\x1b[2J\x07\r\n\u202eé🙂".encode()) == r"a\x1b[2J\x07\r\n\u202eé🙂"
    assert visible("🙂".encode()[1:]) == r"\x9f\x99\x82"


@pytest.mark.skipif(os.name != "posix", reason="terminals as POSIX has them")
@pytest.mark.parametrize("env", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_on_a_terminal_unless_told_otherwise(folder: Path, env: dict[str, str]) -> None:
    import pty

    main_end, other_end = pty.openpty()
    arguments = ["tokenizer", "show", "the cat", "--tokenizer", str(folder / "t.json")]
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run([sys.executable, "-m", "minillm", *arguments], stdout=other_end, env={**clean, **env}, check=True)
    os.close(other_end)
    shown = os.read(main_end, 1 << 14).decode()
    os.close(main_end)
    assert ("\x1b[" in shown) == (env == {"TERM": "xterm"})
    assert ("the| cat" in shown) == (env != {"TERM": "xterm"})


def test_show_needs_no_file(cli: Cli) -> None:
    result = cli("tokenizer", "show", "import os")
    assert result.returncode == 0
    assert result.stdout.startswith("import| os\n")
    assert "4,096 tokens learned from Python's standard library" in result.stderr


def test_decode_prints_what_was_encoded(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, tokenizer = tmp_path / "tokens", load_tokenizer(folder / "t.json")
    (tmp_path / "b.txt").write_text("été 🙂", encoding="utf-8")
    paths = [folder / "text.txt", tmp_path / "b.txt"]
    assert "2 documents, " in output(capsys, "encode", *paths, "--tokenizer", folder / "t.json", "--out", out)
    again = output(capsys, "encode", *paths, "--tokenizer", folder / "t.json", "--out", out, "--workers", 1)
    assert again.endswith("2 of them were there before\n")
    whole = TEXT + END_OF_TEXT + "été 🙂" + END_OF_TEXT
    assert output(capsys, "decode", out) == whole
    tokens = open_token_folder(out).tokens
    file = next(out.glob("*.npy"))
    part = output(capsys, "decode", file, "--tokenizer", out, "--start", 3, "--count", 5)
    assert part == tokenizer.decode(tokens[3:8])
    assert output(capsys, "decode", out, "--start", len(tokens), "--count", 9) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train {d}/none --out {d}/new", "there is no file or folder"),
        ("train {d}/text.txt --out {d}/none/new", "there is no folder"),
        ("train {d}/text.txt --out {d}", "is a folder: give --out a file in it"),
        ("train {d}/text.txt --out {d}/t.json --format gpt2", "is a file, and gpt2 is two"),
        ("train {d}/text.txt --out {d}/new --vocab-size 256", "too small: 256 bytes and 1 special"),
        ("train {d}/text.txt --out {d}/new --min-frequency 0", "min-frequency is 0"),
        ("train {d}/text.txt --out {d}/new --special a a", "none twice"),
        ("train {d}/text.txt --out {d}/new --pattern (", "is no regular expression"),
        ("train {d}/text.txt --out {d}/new --tie last", "unknown tie rule 'last'"),
        ("train {d}/text.txt --out {d}/new --format gpt2 --pattern cl100k", "GPT-2's files are for its own"),
        ("show a --tokenizer {d}/none", "cannot read the file"),
        ("show a --tokenizer {d}/text.txt", "holds no tokenizer"),
        ("show a --merges --tokenizer {d}/byte.json", "a byte tokenizer has no merges"),
        ("encode {d}/text.txt --tokenizer {d}/t.json --out {d}/new --workers 0", "workers is 0"),
        ("encode {d}/text.txt {d}/t.json --tokenizer {d}/byte.json --out {d}/new", "no special token"),
        ("encode {d}/text.txt --tokenizer {d}/t.json --out {d}", "is no token folder"),
        ("encode {d}/x.npy --tokenizer {d}/t.json --out {d}/new", "is not a text file"),
        ("decode {d}/none", "there is no token folder or file"),
        ("decode {d}/x.npy", "does not say what made it: give --tokenizer"),
        ("decode {d}/x.npy --tokenizer {d}/byte.json", "token id 300 at position 2 is not in this vocabulary"),
        ("decode {d}/x.npy --tokenizer {d}/byte.json --start -1", "start is -1"),
        ("decode {d}/text.txt --tokenizer {d}/byte.json", "not a token file"),
    ],
)
def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    save_tokenizer(ByteTokenizer(), folder / "byte.json")
    np.save(folder / "x.npy", np.array([1, 2, 300], np.uint16))
    assert main(["tokenizer", *arguments.format(d=folder).split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("minillm: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (folder / "new").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_keeps_the_files_that_are_done(folder: Path, tmp_path: Path, cli: Cli) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for i in range(120):  # seconds of work, so that the signal comes before the last
        words = np.random.default_rng(i).integers(ord("a"), ord("z") + 1, 100_000, dtype=np.uint8).tobytes()
        (source / f"{i:02}.txt").write_bytes(words)
    arguments = ["tokenizer", "encode", source, "--tokenizer", folder / "t.json", "--out", out, "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minillm", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AUTOGRAD_JIT": "0"},  # slow enough to be stopped
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit one ignored
    )
    while not list(out.glob("parts/*.npy")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 130
    assert errors.endswith("files that are done are kept: the same command goes on\n")
    assert "Traceback" not in errors
    n = len(list(out.glob("parts/*")))
    assert 0 < n < 120
    assert all(path.suffix == ".npy" for path in out.glob("parts/*"))
    result = cli(*arguments)
    assert result.stdout.endswith(f"\n{n} of them were there before\n")
    assert json.loads((out / "index.json").read_text())["n_tokens"] == len(open_token_folder(out).tokens)
