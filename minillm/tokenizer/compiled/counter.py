"""Words of text counted, compiled: the twin of `training.count_words`.

A word is found by a hash of its bytes in an open table. Each distinct word is copied once, behind the others, so that
the text itself can be let go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from autograd.jit import Bytes1, Ids1, InInts1, Int, Int64s1, OutBytes1, jit
from minillm.tokenizer.compiled.scan import Words, chunks
from minillm.tokenizer.split import Split, split_gpt2
from minillm.tokenizer.training import count_words as count_in_python

FNV_OFFSET, FNV_PRIME = 0x811C9DC5, 0x01000193  # of Fowler, Noll & Vo's hash FNV-1a

A = TypeVar("A", bound=np.generic)


class CountedWords(NamedTuple):
    """Distinct words, in the order of their first occurrence."""

    data: NDArray[np.uint8]  # (N,) one behind the other
    starts: NDArray[np.int64]  # (W + 1,) where each begins, and N
    counts: NDArray[np.int64]  # (W,) how often each occurs

    def sorted(self) -> CountedWords:
        """The same words by their first 8 bytes: what has pairs in common lies side by side."""
        lengths = np.diff(self.starts)  # (W,)
        padded = np.concatenate([self.data, np.zeros(8, np.uint8)])  # (N + 8,)
        first = padded[self.starts[:-1, None] + np.arange(8)] * (np.arange(8) < lengths[:, None])  # (W, 8)
        order = np.argsort(first.view(">u8")[:, 0].astype(np.uint64), kind="stable")  # (W,)
        starts = np.concatenate([[0], np.cumsum(lengths[order])])  # (W + 1,)
        moved = np.repeat((self.starts[:-1][order] - starts[:-1]).astype(np.int32), lengths[order])  # (N,)
        return CountedWords(self.data[moved + np.arange(len(moved), dtype=np.int32)], starts, self.counts[order])


def count_words(texts: Iterable[str], split: Split) -> CountedWords:
    """What `training.count_words` counts: GPT-2's words by kernels, those of other patterns by the reference."""
    if split is split_gpt2:
        counter = WordCounter()
        words = Words()
        for text in texts:
            for chunk in chunks(text):
                n = words.find(chunk)
                if n:
                    counter.add(words.data, words.starts[: n + 1])
        return counter.counted()
    counts = count_in_python(texts, split)
    return CountedWords(
        np.frombuffer(b"".join(counts), np.uint8),
        np.cumsum([0, *map(len, counts)], dtype=np.int64),
        np.array(list(counts.values()), np.int64),
    )


class WordCounter:
    """How often each word occurs. It holds each once, and grows with them."""

    def __init__(self) -> None:
        self._n_words = 0  # distinct ones
        self._table = np.zeros(1 << 12, np.int64)  # hash << 32 | number of the word + 1; 0 where there is none
        self._data = np.empty(1 << 12, np.uint8)  # the words, one behind the other
        self._starts = np.zeros(1 << 8, np.int64)  # of each word, and the end of the last
        self._counts = np.zeros(1 << 8, np.int64)

    def add(self, data: NDArray[np.uint8], starts: NDArray[np.int32]) -> None:
        """Count the k words of `data` (n,) that begin at `starts` (k + 1,), where the last one ends at starts[k]."""
        most = self._n_words + len(starts) - 1  # if none of them is known
        self._data = _with_room(self._data, int(self._starts[self._n_words]) + int(starts[-1] - starts[0]))
        self._starts, self._counts = _with_room(self._starts, most + 1), _with_room(self._counts, most)
        if 2 * most > len(self._table):
            self._table = np.zeros(1 << (2 * most).bit_length(), np.int64)
            _enter(self._data, self._starts, self._n_words, self._table)
        self._n_words = _count(data, starts, self._n_words, self._table, self._data, self._starts, self._counts)

    def counted(self) -> CountedWords:
        """The words up to now."""
        starts = self._starts[: self._n_words + 1]
        return CountedWords(self._data[: starts[-1]], starts, self._counts[: self._n_words])


def _with_room(array: NDArray[A], n: int) -> NDArray[A]:
    """`array`, or a longer one that begins with it, of at least n elements."""
    if n <= len(array):
        return array
    longer: NDArray[Any] = np.zeros(2 * n, array.dtype)
    longer[: len(array)] = array
    return longer


@jit()
def _count(
    data: Bytes1, places: InInts1, n_words: Int, table: Int64s1, known: OutBytes1, starts: Int64s1, counts: Int64s1
) -> Int:
    """Count words; returns how many distinct ones there are then. The arrays have room for all of them."""
    for i in range(places.shape[0] - 1):
        start, end = int(places[i]), int(places[i + 1])
        mark = _hash(data, start, end)
        slot = mark & (table.shape[0] - 1)
        while True:
            word = (table[slot] & 0xFFFFFFFF) - 1
            if word < 0:  # a new one
                first = starts[n_words]
                for k in range(end - start):
                    known[first + k] = data[start + k]
                starts[n_words + 1] = first + end - start
                counts[n_words] = 1
                n_words += 1
                table[slot] = mark << 32 | n_words
                break
            if table[slot] >> 32 == mark and _equal(data, start, end, known, starts[word], starts[word + 1]):
                counts[word] += 1
                break
            slot = (slot + 1) & (table.shape[0] - 1)
    return n_words


@jit()
def _enter(known: Bytes1, starts: Ids1, n_words: Int, table: Int64s1) -> None:
    """Enter the known words into an empty table."""
    for word in range(n_words):
        mark = _hash(known, starts[word], starts[word + 1])
        slot = mark & (table.shape[0] - 1)
        while table[slot] != 0:
            slot = (slot + 1) & (table.shape[0] - 1)
        table[slot] = mark << 32 | (word + 1)


@jit(inline=True)
def _hash(data: Bytes1, start: int, end: int) -> int:
    """31 bits, so that they fit beside a number of 32."""
    mark = FNV_OFFSET
    for i in range(start, end):
        mark = (mark ^ int(data[i])) * FNV_PRIME & 0xFFFFFFFF
    return mark & 0x7FFFFFFF


@jit(inline=True)
def _equal(data: Bytes1, start: int, end: int, known: OutBytes1, known_start: int, known_end: int) -> bool:
    length, k = end - start, 0
    if length != known_end - known_start:
        return False
    while k < length and data[start + k] == known[known_start + k]:
        k += 1
    return k == length
