"""A word cut into tokens: the twin of `minillm.tokenizer.merging.merge_word`.

Which pairs merge stands in one table of uint64, found by the hash of the pair: bits 43 to 63 are the left token, 22 to
42 the right one, and below them is the rank, plus one, so that an empty entry is 0. A pair of bytes, which every word
begins with, is looked up in a table of 256 * 256 without hashing.

Up to SHORT bytes, a merge looks at the ranks of all pairs for the lowest. Longer words, of which a text may have one of
a million letters, keep their pairs in a heap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autograd.jit import Bytes1, InInts1, InLongs1, Int, Int64s1, Ints1, jit
from minillm.tokenizer.compiled.load import U
from minillm.tokenizer.vocabulary import Vocabulary

MAX_TOKENS = 1 << 21  # as many as the table of pairs has bits for
RANK_BITS, ID_BITS = U(22), U(21)
RANK_MASK = U((1 << 22) - 1)
PAIR_HASH, PAIR_HASH_SHIFT = U(0x9E3779B97F4A7C15), U(40)  # the highest 24 bits of the product
SHORT = 64  # bytes
NEVER = 1 << 30  # the rank of a pair that does not merge


class MergeTables:
    """A vocabulary's merges, as arrays for kernels.

    Attributes:
        byte_ids: (256,) the token of each byte.
        byte_ranks: (65536,) the rank of each pair of bytes, or NEVER; the left byte counts 256.
        pairs: the table of pairs; its length is a power of two, and half of it at least is empty.
        made: by rank, the token that a merge makes.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        assert len(vocabulary.tokens) <= MAX_TOKENS
        left, right = np.array(list(vocabulary.ranks), np.uint64).reshape(-1, 2).T  # each (n_merges,)
        ranks = np.fromiter(vocabulary.ranks.values(), np.uint64, len(vocabulary.ranks))  # (n_merges,)
        self.byte_ids = np.array(vocabulary.byte_ids, np.int32)
        self.made = np.array(vocabulary.made, np.int32)
        self.pairs = _pair_table((left << ID_BITS | right) << RANK_BITS | (ranks + U(1)))
        self.byte_ranks = np.full(1 << 16, NEVER, np.int32)
        byte_of = np.full(len(vocabulary.tokens), -1)
        byte_of[self.byte_ids] = np.arange(256)
        of_bytes = (byte_of[left] >= 0) & (byte_of[right] >= 0)  # (n_merges,)
        self.byte_ranks[256 * byte_of[left[of_bytes]] + byte_of[right[of_bytes]]] = ranks[of_bytes]


def _pair_table(entries: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The entries, each at the first empty place from its hash on."""
    table = np.zeros(1 << (2 * len(entries)).bit_length(), np.uint64)
    mask = U(len(table) - 1)
    places = (entries >> RANK_BITS) * PAIR_HASH >> PAIR_HASH_SHIFT & mask
    while entries.size:
        free = table[places] == 0
        table[places[free]] = entries[free]  # of several for one place, one is there
        left_over = table[places] != entries
        entries, places = entries[left_over], places[left_over] + U(1) & mask
    return table


@jit(inline=True)
def rank_of(left: int, right: int, pairs: InLongs1) -> np.int64:
    """The rank of the merge of two tokens, or NEVER."""
    pair = U(left) << ID_BITS | U(right)
    mask = U(pairs.shape[0] - 1)
    place = pair * PAIR_HASH >> PAIR_HASH_SHIFT & mask
    while True:
        entry = pairs[place]
        if entry == U(0):
            return np.int64(NEVER)
        if entry >> RANK_BITS == pair:
            return np.int64(entry & RANK_MASK) - 1
        place = place + U(1) & mask


@jit(inline=True)
def first_lowest(ranks: Ints1) -> int:
    """Where the lowest of the ranks (n,) is, and the first of those."""
    lowest, place = NEVER + 1, 0
    for k in range(ranks.shape[0]):
        if ranks[k] < lowest:
            lowest, place = ranks[k], k
    return place


@jit(inline=True)
def merge_short(
    word: Bytes1, byte_ids: InInts1, byte_ranks: InInts1, pairs: InLongs1, made: InInts1, ids: Ints1
) -> int:
    """As `merge_word`, for at most SHORT bytes."""
    ranks = np.empty(SHORT, np.int32)  # of the pair that begins with a token
    n: int = word.shape[0]
    for k in range(n):
        ids[k] = byte_ids[word[k]]
    for k in range(n - 1):
        ranks[k] = byte_ranks[256 * int(word[k]) + int(word[k + 1])]
    while n > 1:
        k = first_lowest(ranks[: n - 1])
        rank = int(ranks[k])
        if rank == NEVER:
            break
        ids[k] = made[rank]
        n -= 1
        for later in range(k + 1, n):
            ids[later] = ids[later + 1]
            ranks[later - 1] = ranks[later]
        if k > 0:
            ranks[k - 1] = rank_of(ids[k - 1], ids[k], pairs)
        if k < n - 1:
            ranks[k] = rank_of(ids[k], ids[k + 1], pairs)
    return n


@jit(inline=True)
def push(heap: Int64s1, size: int, value: int) -> None:
    """Add a value to the `size` that are in the heap."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] <= value:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = value


@jit(inline=True)
def pop(heap: Int64s1, size: int) -> int:
    """Take the lowest of the `size` values out of the heap."""
    lowest, value = heap[0], heap[size - 1]
    place, below = 0, 1
    while below < size - 1:
        if below + 1 < size - 1 and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= value:
            break
        heap[place] = heap[below]
        place, below = below, 2 * below + 1
    heap[place] = value
    return int(lowest)


@jit(inline=True)
def merge_long(word: Bytes1, byte_ids: InInts1, pairs: InLongs1, made: InInts1, ids: Ints1) -> int:
    """As `merge_word`, in n log n steps.

    The tokens are a list, linked both ways by the places of their first bytes. The heap has rank * 2**31 + place of
    each pair that merges, and of some that no longer do.
    """
    n: int = word.shape[0]
    before, after = np.empty(n, np.int32), np.empty(n, np.int32)
    ranks = np.full(n, NEVER, np.int32)  # of the pair that begins at a place
    heap = np.empty(3 * n, np.int64)  # a pair per byte at first, and two more per merge
    size = 0
    for k in range(n):
        ids[k] = byte_ids[word[k]]
        before[k], after[k] = k - 1, k + 1
    for k in range(n - 1):
        ranks[k] = rank_of(ids[k], ids[k + 1], pairs)
        if ranks[k] != NEVER:
            push(heap, size, int(ranks[k]) << 31 | k)
            size += 1
    while size > 0:
        lowest = pop(heap, size)
        size -= 1
        k, rank = lowest & 0x7FFFFFFF, lowest >> 31
        if ranks[k] != rank:
            continue  # one of the two has become part of another token since
        second = int(after[k])
        ids[k] = made[rank]
        after[k] = after[second]
        ranks[k] = ranks[second] = NEVER
        if after[k] < n:
            before[after[k]] = k
            ranks[k] = rank_of(ids[k], ids[after[k]], pairs)
            if ranks[k] != NEVER:
                push(heap, size, int(ranks[k]) << 31 | k)
                size += 1
        previous = int(before[k])
        if previous >= 0:
            ranks[previous] = rank_of(ids[previous], ids[k], pairs)
            if ranks[previous] != NEVER:
                push(heap, size, int(ranks[previous]) << 31 | previous)
                size += 1
    n_ids, k = 0, 0
    while k < n:
        ids[n_ids] = ids[k]
        n_ids += 1
        k = after[k]
    return n_ids


@jit()
def merge_word(word: Bytes1, byte_ids: InInts1, byte_ranks: InInts1, pairs: InLongs1, made: InInts1, ids: Ints1) -> Int:
    """The tokens of a word, into `ids`. Returns how many.

    Args:
        word: (n,) UTF-8, n below 2**31.
        byte_ids, byte_ranks, pairs, made: of `MergeTables`.
        ids: (n,) at least, overwritten.
    """
    if word.shape[0] <= SHORT:
        count: int = merge_short(word, byte_ids, byte_ranks, pairs, made, ids)
    else:
        count = merge_long(word, byte_ids, pairs, made, ids)
    return count
