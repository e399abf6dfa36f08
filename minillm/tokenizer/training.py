"""Merges learned from text, in plain Python: to step through, and where numba is missing.

Sennrich, Haddow & Birch 2016, arXiv:1508.07909, over bytes as in GPT-2 (Radford et al. 2019).

  Text is cut into words, and each distinct word is taken once, with how often it occurs. It begins as its bytes.
  Then, again and again, the pair of neighbours that occurs most often becomes one token, wherever it stands.

Pairs that occur equally often are ordered by a tie rule:

  id      the smallest left id first, then the smallest right id. It follows how the 256 bytes are numbered: Hugging
          Face's trainer has GPT-2's numbers, rustbpe has the values of the bytes.
  first   the pair first that occurs first in the text: minbpe's rule.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Literal

from minillm.tokenizer.base import utf8
from minillm.tokenizer.byte_characters import CHARACTERS
from minillm.tokenizer.split import Split

Pair = tuple[int, int]  # ids of two tokens
ByteOrder = Literal["gpt2", "value"]
Tie = Literal["id", "first"]
Progress = Callable[[int], object]  # called with how much has been done


def bytes_in_order(order: ByteOrder) -> list[bytes]:
    """The 256 bytes by their id: by their value, or as in GPT-2, where those that print in Latin-1 come first."""
    values = list(range(256))
    if order == "gpt2":
        values.sort(key=CHARACTERS.__getitem__)
    return [bytes([value]) for value in values]


def count_words(texts: Iterable[str], split: Split) -> dict[bytes, int]:
    """How often each word occurs, in the order of its first occurrence. One text is held at a time, no word twice."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(utf8(text).decode()))
    return {word.encode(): count for word, count in counts.items()}


def train_merges(
    counts: Mapping[bytes, int],
    n_merges: int,
    *,
    byte_order: ByteOrder = "gpt2",
    min_frequency: int = 1,
    tie: Tie = "id",
    progress: Progress = lambda n_made: None,
) -> list[Pair]:
    """The merges of words, the first of which makes the token 256: the reference.

    How often each pair occurs is kept up to date where a merge changes it, and pairs wait in a heap. Once a pair is
    there it only occurs less often, so its place in the heap is right or too good, and is put right when it is first.

    Args:
        counts: how often each word occurs; the rule "first" takes them in the order of the text.
        n_merges: at most, and less where no pair occurs `min_frequency` times any more.
    """
    id_of = {byte[0]: id for id, byte in enumerate(bytes_in_order(byte_order))}
    words = [[id_of[byte] for byte in word] for word in counts]
    frequency = list(counts.values())  # of each word
    count_of: Counter[Pair] = Counter()
    words_of: dict[Pair, dict[int, None]] = {}  # those that have the pair, in their order: a set that keeps it
    length = [1] * 256  # of each token, in bytes
    for number, word in enumerate(words):
        for pair in pairwise(word):
            count_of[pair] += frequency[number]
            words_of.setdefault(pair, {})[number] = None

    def place(pair: Pair) -> tuple[int, int]:
        """What orders pairs that occur equally often."""
        if tie == "id":
            return pair
        number = next(iter(words_of[pair]))
        word = words[number]
        return number, sum(length[id] for id in word[: list(pairwise(word)).index(pair)])

    waiting = [(-count, place(pair), pair) for pair, count in count_of.items()]  # the most frequent first
    heapq.heapify(waiting)
    merges: list[Pair] = []
    while waiting and len(merges) < n_merges:
        entry = heapq.heappop(waiting)
        pair = entry[-1]
        if count_of[pair] < max(min_frequency, 1):
            continue  # others took its tokens
        now = -count_of[pair], place(pair), pair
        if now != entry:
            heapq.heappush(waiting, now)
            continue
        token = 256 + len(merges)
        merges.append(pair)
        length.append(length[pair[0]] + length[pair[1]])
        fresh: dict[Pair, None] = {}
        for number in list(words_of[pair]):
            before, words[number] = words[number], merged(words[number], pair, token)
            old, new = list(pairwise(before)), list(pairwise(words[number]))
            for gone in old:
                count_of[gone] -= frequency[number]
            for made in new:
                count_of[made] += frequency[number]
            for gone in set(old).difference(new):
                del words_of[gone][number]
            for made in set(new).difference(old):
                words_of.setdefault(made, {})[number] = None
                fresh[made] = None
        for made in fresh:
            heapq.heappush(waiting, (-count_of[made], place(made), made))
        progress(len(merges))
    return merges


def merged(ids: list[int], pair: Pair, token: int) -> list[int]:
    """`ids` with `token` in place of each `pair`, from the left."""
    result: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            result.append(token)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result
