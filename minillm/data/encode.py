"""Many files of text to one token folder, in parallel; a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minillm.data.corpus import BinaryFile, text_parts
from minillm.data.token_file import open_tokens, write_token_parts
from minillm.data.token_folder import FORMAT, INDEX_FILE, TOKENIZER_FILE, digest, fingerprint, read_index, write_index
from minillm.errors import UserError
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from minillm.tokenizer.files import save_tokenizer
from minillm.tokenizer.pieces import in_pieces
from minillm.tokenizer.split import is_known

Special = Literal["refuse", "token", "text"]
PARTS = "parts"
COPIED_AT_ONCE = 1 << 22  # tokens


@dataclass(frozen=True)
class Encoded:
    """What `encode_files` did: documents in the folder, those of them that were there before, files left out."""

    n_tokens: int
    n_documents: int
    n_kept: int
    n_binary: int


class _Stopped(Exception):
    """Ends the work on a file when that on another has failed."""


class _Job:
    """What the threads that encode share.

    Args:
        known: documents of the folder's token file, by the SHA-256 of their files: (start, end).
    """

    def __init__(
        self, tokenizer: Tokenizer, folder: Path, end_of_text: str, special: Special, known: dict[str, tuple[int, int]]
    ) -> None:
        self.tokenizer, self.parts, self.special, self.known = tokenizer, folder / PARTS, special, known
        self.end = [tokenizer.special_tokens[end_of_text]] if end_of_text in tokenizer.special_tokens else []
        self.stop = threading.Event()
        self.n_binary = 0
        self.begun: set[str] = set()  # documents that are not known, by the SHA-256 of their files
        self._lock = threading.Lock()

    def encode_file(self, path: Path, of_folder: bool, bar: tqdm[Any]) -> str | None:
        """The SHA-256 of a file, whose tokens are in the folder now; None for one that is left out."""
        try:
            with path.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            if size == 0:
                return None
            if not self._is_new(key):
                bar.update(size)
                return key
            write_token_parts(self.part(key), self._ids(path, bar), self.tokenizer.vocab_size)
        except BinaryFile:
            if not of_folder:
                raise
            self.n_binary += 1
            return None
        except OSError as error:
            raise UserError(
                f"cannot read {str(path)!r}: {error.strerror}; leave it out, or make it readable"
            ) from error
        return key

    def _is_new(self, key: str) -> bool:
        """Whether nobody has encoded the document, or is about to: files may be equal."""
        with self._lock:
            if key in self.known or key in self.begun or self.part(key).exists():
                return False
            self.begun.add(key)
            return True

    def part(self, key: str) -> Path:
        return self.parts / f"{key}.npy"

    def _ids(self, path: Path, bar: tqdm[Any]) -> Iterator[NDArray[np.int32] | list[int]]:
        position = 0  # characters
        for piece in _pieces(self.tokenizer, self._watched(path, bar)):
            if self.special == "refuse":
                for name in self.tokenizer.special_tokens:
                    if name in piece:
                        raise UserError(
                            f"{str(path)!r} has the special token {name!r} at character {position + piece.find(name)}: "
                            "give --special token to take it for one, or --special text for text like any other"
                        )
            yield self.tokenizer.encode(
                piece, allowed_special="all" if self.special == "token" else (), disallowed_special=()
            )
            position += len(piece)
        yield self.end

    def _watched(self, path: Path, bar: tqdm[Any]) -> Iterator[str]:
        for part in text_parts(path):
            if self.stop.is_set():
                raise _Stopped
            yield part
            bar.update(len(part.encode()))


def encode_files(
    files: Sequence[tuple[Path, bool]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    end_of_text: str,
    special: Special = "refuse",
    workers: int = 1,
) -> Encoded:
    """Encode each file as a document into a token folder, which is made, gone on with, or brought up to date.

    Files whose content the folder has are not encoded again. What is in the folder and not in `files` is dropped.

    Args:
        files: paths, and for each whether it comes from a folder: if so and it is binary it is left out.
        end_of_text: the special token that goes behind each document.
        special: what the names of special tokens in the text are.
        workers: threads.

    Raises:
        UserError: a file is no text or has a special token where `special` refuses them, there is nothing to encode,
            the tokenizer has no such end_of_text for several documents, or the folder belongs to another tokenizer or
            cannot be written. What is done is kept for the next time.
    """
    if len(files) > 1 and end_of_text not in tokenizer.special_tokens:
        has = ", ".join(tokenizer.special_tokens) or "none"
        raise UserError(
            f"the tokenizer has no special token {end_of_text!r} to put between {len(files)} documents, it has {has}: "
            "name one of these with --end-of-text, or train a tokenizer with one"
        )
    asked = {"format": FORMAT, "tokenizer": fingerprint(tokenizer), "end_of_text": end_of_text, "special": special}
    before = _prepare(folder, tokenizer, asked)
    if not (folder / before.get("tokens", PARTS)).is_file():
        before.pop("documents", None)
    known = {d["sha256"]: (d["start"], d["end"]) for d in before.get("documents", [])}
    job = _Job(tokenizer, folder, end_of_text, special, known)
    try:
        keys = _encode_all(job, files, workers)
        documents = [(str(path), key) for (path, _), key in zip(files, keys, strict=True) if key]
        if not documents:
            raise UserError("there is no text in these files: give some that have")
    except BaseException:
        if not before and not any((folder / PARTS).iterdir()):  # nothing to go on with
            shutil.rmtree(folder, ignore_errors=True)
        raise
    n_kept = len(documents) - sum(key in job.begun for _, key in documents)
    if documents == [(d["path"], d["sha256"]) for d in before.get("documents", [])]:
        return Encoded(before["n_tokens"], len(documents), n_kept, job.n_binary)
    n = _join(job, folder, documents, {**before, **asked})
    return Encoded(n, len(documents), n_kept, job.n_binary)


def _prepare(folder: Path, tokenizer: Tokenizer, asked: dict[str, Any]) -> dict[str, Any]:
    """Make the folder; returns the index that it has."""
    try:
        if (folder / INDEX_FILE).exists():
            before = read_index(folder)
            differing = [
                name
                for name, value in asked.items()
                if before.get(name) != value and not (name == "special" and before.get(name) == "refuse")
            ]
            if differing:
                raise UserError(
                    f"{str(folder)!r} was made with another {differing[0].replace('_', '-')}: give another --out, "
                    "or delete that folder"
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{str(folder)!r} is there and is no token folder: give --out a folder that is new or empty"
            )
        else:
            before = {}
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {str(folder)!r}: {error.strerror}: give another --out") from error
    if not before:
        save_tokenizer(tokenizer, folder / TOKENIZER_FILE)
        write_index(folder, asked)
    return before


def _encode_all(job: _Job, files: Sequence[tuple[Path, bool]], workers: int) -> list[str | None]:
    """Of each file what `encode_file` gives."""
    total = sum(path.stat().st_size for path, _ in files if path.exists())
    pool = ThreadPoolExecutor(workers)
    with tqdm(total=total, unit="B", unit_scale=True, dynamic_ncols=True, disable=None) as bar:
        try:
            return list(pool.map(lambda file: job.encode_file(file[0], file[1], bar), files))
        finally:  # after an error or Ctrl-C, threads end at the next part of their file
            job.stop.set()
            pool.shutdown(cancel_futures=True)


def _join(job: _Job, folder: Path, documents: Sequence[tuple[str, str]], index: dict[str, Any]) -> int:
    """Write the token file and the index, and delete what they replace; returns the number of tokens."""
    size = job.tokenizer.vocab_size
    old = open_tokens(folder / index["tokens"], size) if job.known else np.empty(0, np.uint16)
    places: list[dict[str, Any]] = []

    def tokens() -> Iterator[NDArray[np.integer]]:
        end = 0
        for path, key in documents:
            part = old[slice(*job.known[key])] if key in job.known else open_tokens(job.part(key), size)  # (n,)
            start, end = end, end + len(part)
            places.append({"path": path, "sha256": key, "start": start, "end": end})
            yield from (part[first : first + COPIED_AT_ONCE] for first in range(0, len(part), COPIED_AT_ONCE))

    name = f"tokens-{digest({'documents': documents})[:12]}.npy"
    n = write_token_parts(folder / name, tokens(), size)
    write_index(folder, {**index, "tokens": name, "n_tokens": n, "documents": places})
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    for other in folder.glob("tokens-*.npy"):
        if other.name != name:
            other.unlink(missing_ok=True)
    return n


def _pieces(tokenizer: Tokenizer, parts: Iterable[str]) -> Iterable[str]:
    """A text in pieces that the tokenizer may encode one by one, or whole where nothing says where it may be cut."""
    cuts_there = isinstance(tokenizer, BPETokenizer) and is_known(tokenizer.pattern)
    in_one = any(len(name.split()) != 1 for name in tokenizer.special_tokens)  # a piece could end inside of it
    if in_one or not (cuts_there or isinstance(tokenizer, ByteTokenizer | CharTokenizer)):
        return ["".join(parts)]
    return in_pieces(parts)
