"""A word cut into tokens: byte pair encoding, merge by merge.

Sennrich, Haddow & Birch 2016, arXiv:1508.07909, over bytes as in GPT-2 (Radford et al. 2019).

  The word begins as its bytes, each of them a token. As long as there is one, the pair of neighbours whose merge has
  the lowest rank, the first of them where several have it, becomes one token.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

from minillm.tokenizer.vocabulary import Vocabulary

NONE = -1  # no token begins here: the byte is a later one of a token


class Merge(NamedTuple):
    """The tokens `left` and `right`, of which `left` begins at the byte `start` of a word, become `token`."""

    start: int
    left: int
    right: int
    token: int


def merge_word(word: bytes, vocabulary: Vocabulary, watch: Callable[[Merge], object] | None = None) -> list[int]:
    """The tokens of a word: the reference, to be stepped through. `watch` is called with each merge when it is done.

    Pairs that can merge wait in a heap, so that a word of n bytes takes n log n steps.
    """
    n = len(word)
    ids = [vocabulary.byte_ids[byte] for byte in word]  # (n,) the token that begins at a byte, or NONE
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))  # (n,) where the tokens beside it begin
    waiting: list[tuple[int, Merge]] = []  # lowest rank first, then the first in the word

    def look_at(start: int) -> None:
        """If the token at `start` and the one after it can merge, they wait."""
        if start >= 0 and after[start] < n:
            pair = ids[start], ids[after[start]]
            rank = vocabulary.ranks.get(pair)
            if rank is not None:
                heapq.heappush(waiting, (rank, Merge(start, *pair, vocabulary.made[rank])))

    for start in range(n - 1):
        look_at(start)
    while waiting:
        _, merge = heapq.heappop(waiting)
        start, second = merge.start, after[merge.start]
        if second == n or (ids[start], ids[second]) != (merge.left, merge.right):
            continue  # one of them has become part of another token since
        ids[start], ids[second] = merge.token, NONE
        after[start] = after[second]
        if after[start] < n:
            before[after[start]] = start
        if watch:
            watch(merge)
        look_at(before[start])
        look_at(start)
    return [id for id in ids if id != NONE]
