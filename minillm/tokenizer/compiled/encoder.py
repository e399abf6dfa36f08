"""Text to tokens by compiled kernels: the twin of `BPETokenizer.encode_reference`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from minillm.tokenizer.base import joined, utf8
from minillm.tokenizer.compiled.merge import MergeTables
from minillm.tokenizer.compiled.scan import AFTER, CHUNK, Words, chunks
from minillm.tokenizer.compiled.words import LONGEST_SHORT, WordMemory, encode_words
from minillm.tokenizer.split import Split, split_gpt2
from minillm.tokenizer.vocabulary import Vocabulary

WORDS_AT_A_TIME = 1 << 14  # of those that a kernel did not cut
LEAST_SLOT_BITS = 18  # a memory of 8 MB: the words of 30 MB of code find room (a third faster than with half of it)
MOST_ROOM = 64 * CHUNK  # bytes of buffers that are kept for the next text

Ids = NDArray[np.int32]
T = TypeVar("T")


class Encoder:
    """Encodes as the reference does. Several threads may use one at the same time.

    Args:
        vocabulary: of at most MAX_TOKENS tokens.
        split: what cuts text into words. GPT-2's is left to a kernel.
    """

    def __init__(self, vocabulary: Vocabulary, split: Split = split_gpt2) -> None:
        self._split = split
        self._tables = MergeTables(vocabulary)
        self._known = WordMemory(slot_bits=max(LEAST_SLOT_BITS, (2 * len(vocabulary.tokens)).bit_length()))
        self._idle: list[_Worker] = []  # a thread takes one and puts it back: what it has met is not lost with a thread
        # The vocabulary's own tokens are met first, the lowest first of all: they are the most frequent.
        first = _Worker(self._tables, self._known)
        first.memory = self._known
        first.encode(first.words.put([token for token in vocabulary.tokens if token and len(token) <= LONGEST_SHORT]))

    def encode(self, text: str) -> Ids:
        """The tokens of a text (n,)."""
        worker = self._take()
        ids = self._encode(text, worker)
        self._put_back(worker)
        return ids

    def encode_batch(self, texts: Sequence[str], n_threads: int) -> list[Ids]:
        """The tokens of each text, found by n threads. A long text is shared among them too, if the pattern is GPT-2's.

        They share the parts of the texts, of CHUNK characters or more, and take the next one when they are done.
        """
        jobs = _Shared(enumerate(self._jobs(texts)))
        done: list[tuple[int, list[tuple[int, Ids]]]] = []  # number of the job, and for each of its parts text and ids

        def work() -> None:
            worker = self._take()
            for number, job in jobs:
                done.append((number, [(text, self._encode(part, worker)) for text, part in job]))
            self._put_back(worker)

        with ThreadPoolExecutor(n_threads) as pool:
            for thread in [pool.submit(work) for _ in range(n_threads)]:
                thread.result()  # raises what the thread raised
        parts: list[list[Ids]] = [[] for _ in texts]
        for _, job in sorted(done, key=lambda numbered: numbered[0]):
            for text, ids in job:
                parts[text].append(ids)
        return [joined(its_parts) for its_parts in parts]

    def _jobs(self, texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
        """Parts of texts that one thread works on at a time, each with the number of its text."""
        job: list[tuple[int, str]] = []
        size = 0
        for number, text in enumerate(texts):
            for part in chunks(text) if self._split is split_gpt2 else [text]:
                job.append((number, part))
                size += len(part)
                if size >= CHUNK:
                    yield job
                    job, size = [], 0
        yield job

    def _encode(self, text: str, worker: _Worker) -> Ids:
        if self._split is split_gpt2:
            return joined(worker.encode(worker.words.find(chunk)) for chunk in chunks(text))
        words = self._split(utf8(text).decode("utf-8"))
        some = (words[first : first + WORDS_AT_A_TIME] for first in range(0, len(words), WORDS_AT_A_TIME))
        return joined(worker.encode(worker.words.put([word.encode() for word in part if word])) for part in some)

    def _take(self) -> _Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return _Worker(self._tables, self._known)

    def _put_back(self, worker: _Worker) -> None:
        if worker.words.room <= MOST_ROOM:
            self._idle.append(worker)


class _Worker:
    """What one thread encodes with: buffers of a chunk, and its memory of words."""

    def __init__(self, tables: MergeTables, known: WordMemory) -> None:
        self.words = Words()
        self.memory = known.copy()
        self._tables, self._known = tables, known
        self._ids = np.empty(0, np.int32)

    def encode(self, n_words: int) -> Ids:
        """The tokens of the words that `words` has."""
        words, tables, memory = self.words, self._tables, self.memory
        if memory.is_full():
            memory.copy_from(self._known)
        if len(self._ids) < len(words.data):
            self._ids = np.empty(len(words.data), np.int32)
        end = int(words.starts[n_words]) if n_words else 0
        assert len(words.data) >= end + AFTER
        assert len(self._ids) >= end
        n_ids = encode_words(
            words.data,
            words.starts,
            n_words,
            tables.byte_ids,
            tables.byte_ranks,
            tables.pairs,
            tables.made,
            memory.slots,
            memory.long_slots,
            memory.arena,
            memory.state,
            self._ids,
        )
        return self._ids[:n_ids].copy()


class _Shared(Generic[T]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items, self._lock = iter(items), Lock()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)
