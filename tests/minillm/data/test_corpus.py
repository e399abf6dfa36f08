import sys
import sysconfig
from pathlib import Path

import pytest

from minillm.data import Corpus, corpus, iter_texts, read_corpus, split
from minillm.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with text at several depths, a hidden file and a binary one."""
    files = {
        "b.txt": b"bee",
        "a.txt": b"ay\n",
        "deep/er/c.md": "sée\r\n".encode(),
        "deep/d.txt": b"\xef\xbb\xbfdee",  # begins with a byte order mark
        ".git/config": b"hidden",
        "image.png": b"\x89PNG\0",
        "odd[1].txt": b"odd",
    }
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(corpus: Corpus) -> list[str]:
    return [path.name for path in corpus.files]


def test_one_file_is_taken_as_it_is(folder: Path) -> None:
    corpus = read_corpus(["a.txt"])
    assert read_corpus("a.txt") == corpus
    assert list(iter_texts("a.txt")) == [corpus.text]
    assert corpus.text == "ay\n"
    assert corpus.description == "a.txt: 1 file, 3 characters"


def test_folder_is_sorted_and_leaves_out_hidden_and_binary_files(folder: Path) -> None:
    corpus = read_corpus([str(folder)])
    assert names(corpus) == ["a.txt", "b.txt", "d.txt", "c.md", "odd[1].txt"]
    assert corpus.text == "ay\n\nbee\ndee\nsée\r\n\nodd"
    assert corpus.description.endswith(": 5 files, 21 characters (1 binary file left out)")


def test_globs_and_a_file_whose_name_looks_like_one(folder: Path) -> None:
    assert names(read_corpus(["*.txt"])) == ["a.txt", "b.txt", "odd[1].txt"]
    assert names(read_corpus(["deep/**"])) == ["d.txt", "c.md"]
    assert names(read_corpus([str(folder / "**" / "*.md")])) == ["c.md"]
    assert names(read_corpus(["odd[1].txt"])) == ["odd[1].txt"]


def test_sources_keep_their_order_and_a_file_is_read_once(folder: Path) -> None:
    corpus = read_corpus(["deep", "b.txt", "*.txt", str(folder / "b.txt")])
    assert names(corpus) == ["d.txt", "c.md", "b.txt", "a.txt", "odd[1].txt"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a.txt", "nowhere"], "there is no file or folder 'nowhere'; data is given as files, folders, globs"),
        (["*.csv"], "no file matches '\\*.csv'"),
        (["*e*p"], "no file matches"),  # only a folder does
        (["x" * 5000], "cannot read 'xxx.*name too long"),
        (["bin"], "there is no text file in the folder 'bin'"),
        (["blank.txt"], "there is no text in blank.txt"),
        ([], "there is no text in an empty list of sources"),
        (["image.png"], "'image.png' is not a text file: invalid UTF-8 at byte 0"),
        (["*"], "'bad.tex' is not a text file"),
    ],
)
def test_what_cannot_be_read(folder: Path, sources: list[str], message: str) -> None:
    (folder / "blank.txt").write_text(" \n")
    (folder / "bad.tex").write_bytes(b"caf\xe9")
    (folder / "bin").mkdir()
    (folder / "bin" / "a.bin").write_bytes(b"\0")
    with pytest.raises(UserError, match="(?i)" + message):
        read_corpus(sources)


def test_streamed_texts_are_those_of_the_corpus(folder: Path) -> None:
    assert list(iter_texts(["deep", "b.txt", "deep/d.txt", "."])) == ["dee", "sée\r\n", "bee", "ay\n", "odd"]
    assert "\n".join(iter_texts()) == read_corpus().text
    with pytest.raises(UserError, match="no file or folder 'nothing'"):
        list(iter_texts(["b.txt", "nothing"]))


@pytest.mark.parametrize("block", [3, 4, 5, 7, 1000])
def test_a_file_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    text = "\ufeffa é€🙂\ufeff\nb"
    (tmp_path / "text").write_bytes(text.encode())
    assert "".join(iter_texts([str(tmp_path)])) == read_corpus([str(tmp_path / "text")]).text == text[1:]
    (tmp_path / "binary").write_bytes("é€a".encode() + b"\xe2\x82a")
    for read in (read_corpus, lambda sources: list(iter_texts(sources))):
        with pytest.raises(UserError, match="invalid UTF-8 at byte 6;"):
            read([str(tmp_path / "binary")])
    assert list(iter_texts([str(tmp_path)])) == [text[1:]]  # nothing of the binary file, which begins as text


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"caf\xe9 ol\xe9", "invalid UTF-8 at byte 3"),
        ("é€".encode()[:-1], "invalid UTF-8 at byte 2"),
        (b"ab\0c\xe9", "a NUL byte at byte 2"),
        (b"a\xe9c\0", "invalid UTF-8 at byte 1"),
    ],
)
def test_a_binary_file_is_named_with_the_first_faulty_byte(tmp_path: Path, data: bytes, fault: str) -> None:
    (tmp_path / "notes.txt").write_bytes(data)
    with pytest.raises(UserError, match=f"notes.txt' is not a text file: {fault};"):
        read_corpus([str(tmp_path / "notes.txt")])


def test_standard_library_is_a_sensible_corpus() -> None:
    corpus = read_corpus()
    assert 1_500_000 < len(corpus.text) < 3_000_000
    assert corpus.text.isascii()
    assert 90 < len(set(corpus.text)) < 110
    assert "def bisect_right(a, x, lo=0, hi=None, *, key=None):" in corpus.text
    assert corpus.description.startswith(f"Python {sys.version.split()[0]} standard library: {len(corpus.files)} files")
    assert read_corpus(["stdlib"]) == corpus
    assert all(path.stem in sys.stdlib_module_names for path in corpus.files)


def test_standard_library_is_only_its_own_public_ascii_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(UserError, match=r"no library sources .* name other data"):
        read_corpus()
    (tmp_path / "bisect.py").write_text("import this\n")
    (tmp_path / "sitecustomize.py").write_text("path = '/home/me'\n")  # the installation's own
    (tmp_path / "_sysconfigdata_x86.py").write_text("path = '/home/me'\n")
    (tmp_path / "heapq.py").write_text("# François\n", encoding="utf-8")
    (tmp_path / "turtle.py").write_text("#" * (64 * 1024 + 1))
    assert read_corpus().text == "import this\n"


def test_standard_library_validation_split_is_no_single_module() -> None:
    corpus = read_corpus()
    _, validation = split(corpus.text)
    whole = [path.stem for path in corpus.files if path.read_text() in validation]
    assert len(whole) >= 5
    assert corpus.files != tuple(sorted(corpus.files))
