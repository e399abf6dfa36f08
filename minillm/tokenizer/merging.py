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

NONE = -1  # no token begins here any more: it is part of the one before


class Merge(NamedTuple):
    """The tokens `left` and `right`, of which `left` begins at `start`, a byte of the word, become `token`."""

    start: int
    left: int
    right: int
    token: int


Rule = Callable[[int, int], tuple[float, int] | None]  # rank and token of what two tokens make, if they merge


def merge_word(word: bytes, vocabulary: Vocabulary, watch: Callable[[Merge], object] | None = None) -> list[int]:
    """The tokens of a word: the reference, to be stepped through. `watch` is called with each merge when it is done."""

    def rule(left: int, right: int) -> tuple[float, int] | None:
        rank = vocabulary.ranks.get((left, right))
        return None if rank is None else (rank, vocabulary.made[rank])

    return merge([vocabulary.byte_ids[byte] for byte in word], rule, watch)


def merge(ids: list[int], rule: Rule, watch: Callable[[Merge], object] | None = None) -> list[int]:
    """The tokens `ids` (n,), which are overwritten, merged as `rule` says, until no two neighbours merge.

    Pairs that can merge wait in a heap, so that n tokens take n log n steps.
    """
    n = len(ids)
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))  # (n,) where the tokens beside it begin
    waiting: list[tuple[float, Merge]] = []  # lowest rank first, then the first from the left

    def look_at(start: int) -> None:
        """If the token at `start` and the one after it can merge, they wait."""
        if start >= 0 and after[start] < n:
            pair = ids[start], ids[after[start]]
            made = rule(*pair)
            if made is not None:
                heapq.heappush(waiting, (made[0], Merge(start, *pair, made[1])))

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
