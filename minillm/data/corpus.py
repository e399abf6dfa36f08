"""Read text from files, folders, globs, or the corpus that every machine has: Python's own standard library.

`stdlib` stands for the library's top-level modules (`bisect.py`, not `json/decoder.py`) that are public, pure ASCII and
at most 64 KiB long: 104 to 127 modules and 1.9 to 2.4 million characters on Python 3.11 to 3.13, of 96 distinct kinds.
A CPU passes over much of that in two minutes, and no module is long enough to be the whole validation split. They are
ordered by the SHA-256 of their names: the last tenth is then a mixture of unrelated modules, the order is the same on
every machine, and a module that a Python version adds or drops moves no other one.
"""

import codecs
import glob
import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minillm.errors import UserError
from minillm.tokenizer.pieces import in_pieces

STDLIB = "stdlib"
BLOCK = 1 << 20  # bytes of a file that are read at once
STDLIB_LARGEST_MODULE = 64 * 1024  # characters
ALLOWED = f"data is given as files, folders, globs such as 'books/**/*.txt', or the name {STDLIB!r}"


@dataclass(frozen=True)
class Corpus:
    """The text of `files` (absolute paths) with a line end between two, and one line that says what it is."""

    text: str
    description: str
    files: tuple[Path, ...]


class BinaryFile(UserError):
    """A file that holds something other than UTF-8 text: an error where it was named, passed over in a folder."""


def read_corpus(sources: Sequence[str] = (STDLIB,)) -> Corpus:
    """Read UTF-8 text from `sources` in the order given; a file reached twice is read once.

    A source is a file; a folder, whose text files are taken at any depth, sorted by path, leaving out hidden and
    binary ones; a glob (`**` goes through folders, hidden files are left out), sorted too; or `stdlib` (see above;
    a file or folder of that name is `./stdlib`). Text is taken as it is, except for a byte order mark.

    Raises UserError where a source does not exist or match, a file cannot be read or is binary (NUL bytes or invalid
    UTF-8; with the byte offset), or there is no text at all.
    """
    sources = [sources] if isinstance(sources, str) else sources  # each letter would be one, "/" among them
    texts: dict[Path, str] = {}
    skipped: set[Path] = set()
    for source in sources:
        for path, parts in _texts(source, skipped):
            if path.resolve() not in texts:
                texts[path.resolve()] = "".join(parts)
    text = "\n".join(texts.values())
    if not text.strip():
        raise UserError(f"there is no text in {' '.join(sources) or 'an empty list of sources'}; {ALLOWED}")
    names = [f"Python {platform.python_version()} standard library" if s == STDLIB else s for s in sources]
    description = f"{', '.join(names)}: {_count(len(texts), 'file')}, {len(text):,} characters"
    if skipped:
        description += f" ({_count(len(skipped), 'binary file')} left out)"
    return Corpus(text, description, tuple(texts))


def iter_texts(sources: Sequence[str] = (STDLIB,)) -> Iterator[str]:
    """The files that `read_corpus` reads, in pieces of about a million characters, of which one is held at a time.

    No word lies across two pieces, see `minillm.tokenizer.pieces`. Files are read twice, first to see that they are
    text to their end: of one that is left out or refused nothing is yielded.

    Raises:
        UserError: as `read_corpus`, but when it comes to the source, and not where there are empty files only.
    """
    seen: set[Path] = set()
    for source in [sources] if isinstance(sources, str) else sources:
        for path, parts in _texts(source, set()):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield from in_pieces(parts)


def list_files(sources: Sequence[str]) -> list[tuple[Path, bool]]:
    """The files of `sources` in the order of `read_corpus`, each once, and whether it is a folder's.

    They have not been read: a folder's that is binary is left out by who reads it with `text_parts`.

    Raises:
        UserError: a source does not exist or match, or cannot be read.
    """
    found: dict[Path, tuple[Path, bool]] = {}  # by what the path leads to
    for source in sources:
        try:
            for path in _read_stdlib() if source == STDLIB else _files(source):
                found.setdefault(path.resolve(), (path, source != STDLIB and Path(source).is_dir()))
        except OSError as error:
            raise _unreadable(source, error) from error
    return list(found.values())


def _texts(source: str, skipped: set[Path]) -> Iterator[tuple[Path, Iterable[str]]]:
    """The files of a source, each with its text in parts; a folder's binary files are added to `skipped`."""
    found = False
    try:
        if source == STDLIB:
            yield from _read_stdlib().items()
            return
        for file in _files(source):
            try:
                for _ in text_parts(file):
                    pass
            except BinaryFile:
                if not Path(source).is_dir():
                    raise
                skipped.add(file)
                continue
            found = True
            yield file, text_parts(file)
    except OSError as error:
        raise _unreadable(source, error) from error
    if not found:
        raise UserError(f"there is no text file in the folder {source!r}; {ALLOWED}")


def _unreadable(source: str, error: OSError) -> UserError:
    return UserError(f"cannot read {str(error.filename or source)!r}: {error.strerror}; {ALLOWED}")


def _files(source: str) -> list[Path]:
    """One file, or those of a folder or glob."""
    path = Path(source)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        return [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if path.exists():
        return [path]
    if glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  Path.glob refuses absolute patterns
        files = [Path(match) for match in matches if not Path(match).is_dir()]
        if not files:
            raise UserError(f"no file matches {source!r}; {ALLOWED}")
        return files
    raise UserError(f"there is no file or folder {source!r}; {ALLOWED}")


def text_parts(path: Path) -> Iterator[str]:
    """The text of a file, a block at a time. Raises BinaryFile, a UserError, where it ceases to be text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_read, data = 0, b"begin"
    with path.open("rb") as file:
        while data:
            data = file.read(BLOCK)
            held = len(decoder.getstate()[0])  # bytes of a character that goes on in this block
            fault, offset = "a NUL byte", data.find(b"\0")
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                if offset < 0 or error.start - held < offset:
                    fault, offset = "invalid UTF-8", error.start - held
            if fault == "invalid UTF-8" or offset >= 0:
                raise BinaryFile(
                    f"{str(path)!r} is not a text file: {fault} at byte {n_read + offset}; "
                    "leave it out or convert it to UTF-8"
                )
            yield text if n_read else text.removeprefix("\ufeff")
            n_read += len(data)


def _read_stdlib() -> dict[Path, list[str]]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = {}
    for path in sorted(folder.glob("*.py"), key=lambda path: hashlib.sha256(path.stem.encode()).digest()):
        # The folder also holds files of the installation's own (sitecustomize.py, _sysconfigdata_*.py).
        if path.stem in sys.stdlib_module_names and not path.stem.startswith("_"):
            text = path.read_text(encoding="utf-8", errors="replace")  # where it has to replace, it is not ASCII
            if text.isascii() and len(text) <= STDLIB_LARGEST_MODULE:
                texts[path] = [text]
    if not texts:
        raise UserError(f"this Python has no library sources in {str(folder)!r}; name other data: {ALLOWED}")
    return texts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
