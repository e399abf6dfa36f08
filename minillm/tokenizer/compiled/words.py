"""Words to tokens, with a memory of the words that were met: most words of a text are few.

Words of up to 16 bytes stand in `slots`, four numbers of 64 bits each: an entry is half a line of the core's cache, its
key is compared whole, and a word of up to four tokens is answered from it alone.

    bytes 0 to 7 | bytes 8 to 15 | length: 8 bits, count: 8, ids 0, 1: 24 each | ids 2, 3: 24 each, or place in `arena`

Words of up to LONGEST bytes stand in `arena`, one after another, and `long_slots` has their places there (ARENA_BITS,
plus one) with the rest of their hash above it.

    length: 8 bits, count: the rest | the bytes | the ids, one a number

An empty entry is 0, and a word stands at the first empty place from its hash on. When the memory is full, nothing more
is remembered. Between two chunks it then begins again with what it knew at first, the vocabulary's own tokens, so that
it follows a text that changes; a word that is still in use costs one merge.
"""

from __future__ import annotations

import numpy as np

from autograd.jit import Bytes1, InInts1, InLongs1, Int, Int64s1, Ints1, Longs1, jit
from minillm.tokenizer.compiled.load import U, load8
from minillm.tokenizer.compiled.merge import merge_word

LONGEST_SHORT = 16  # bytes of a word in `slots`
LONGEST = 255  # bytes of a word that is remembered
ARENA_BITS = U(18)
ARENA_SIZE, LONG_SLOTS = 1 << 18, 1 << 15
N_SHORT, N_LONG, ARENA_USED = range(3)  # of `state`

ALL = U(0xFFFFFFFFFFFFFFFF)
HASH_1, HASH_2, HASH_3 = U(0x9E3779B97F4A7C15), U(0xC2B2AE3D27D4EB4F), U(0xFF51AFD7ED558CCD)
ID_MASK, LENGTH_MASK, COUNT_SHIFT = U(0xFFFFFF), U(0xFF), U(8)


class WordMemory:
    """The words that one thread has met.

    Attributes:
        slots, long_slots, arena: see above; the length of slots is 4 times a power of two.
        state: how many words are in slots and in long_slots, and how much of arena is used.
    """

    def __init__(self, slot_bits: int) -> None:
        self.slots = np.zeros(4 << slot_bits, np.uint64)
        self.long_slots = np.zeros(LONG_SLOTS, np.uint64)
        self.arena = np.zeros(ARENA_SIZE, np.uint64)
        self.state = np.zeros(3, np.int64)

    def copy(self) -> WordMemory:
        """Another memory that knows the same."""
        copy = WordMemory.__new__(WordMemory)
        copy.slots = np.empty_like(self.slots)
        copy.long_slots = np.empty_like(self.long_slots)
        copy.arena = np.zeros_like(self.arena)
        copy.state = np.empty_like(self.state)
        copy.copy_from(self)
        return copy

    def copy_from(self, other: WordMemory) -> None:
        """Know what the other one knows, and no more."""
        self.slots[:] = other.slots
        self.long_slots[:] = other.long_slots
        used = other.state[ARENA_USED]
        self.arena[:used] = other.arena[:used]
        self.state[:] = other.state

    def is_full(self) -> bool:
        """Whether there is something that finds no room any more, or soon."""
        n_short, n_long, used = self.state.tolist()
        return n_short >= len(self.slots) * 3 // 16 or n_long >= LONG_SLOTS // 2 or used >= ARENA_SIZE - 2 * LONGEST


@jit(inline=True)
def mixed(hash: np.uint64) -> np.uint64:
    """A hash whose high bits depend on all of its bits."""
    product = hash * HASH_1
    return (product ^ (product >> U(29))) * HASH_3


@jit(inline=True)
def mask_of(length: int) -> np.uint64:
    """The lowest bytes of a number, 0 to 8 of them. Shifted twice, since a shift by 64 has no meaning."""
    half = U(32 - 4 * length)
    return ALL >> half >> half


@jit(inline=True)
def hash_long(data: Bytes1, start: int, length: int) -> np.uint64:
    """The hash of a word that is longer than 16 bytes."""
    hash: np.uint64 = U(length)
    for k in range(0, length - 8, 8):
        hash = mixed(hash ^ load8(data, start + k))
    hash = mixed(hash ^ load8(data, start + length - 8))  # the last 8 bytes, some of them again
    return hash


@jit(inline=True)
def same_bytes(data: Bytes1, start: int, length: int, arena: Longs1, place: int) -> bool:
    """Whether the word is the one whose bytes begin at a place of the arena."""
    for k in range(0, length, 8):
        difference = load8(data, start + k) ^ arena[place + (k >> 3)]
        if difference & mask_of(min(length - k, 8)) != U(0):
            return False
    return True


@jit(inline=True)
def remember_long(data: Bytes1, start: int, length: int, ids: Ints1, count: int, arena: Longs1, used: int) -> int:
    """Write a word and its ids to the arena. Returns how much of it is used then."""
    arena[used] = U(count) << COUNT_SHIFT | U(length)
    used += 1
    for k in range(0, length, 8):
        arena[used] = load8(data, start + k)  # what follows the word is not looked at
        used += 1
    for k in range(count):
        arena[used] = U(ids[k])
        used += 1
    return used


@jit(inline=True)
def find_short(low: np.uint64, high: np.uint64, length: int, slots: Longs1) -> np.uint64:
    """The entry of a word of up to 16 bytes, or the empty one where it belongs."""
    mask = U(slots.shape[0] - 1)
    entry: np.uint64 = mixed(low ^ high * HASH_2) >> U(32) << U(2) & mask
    while True:
        about = slots[entry + U(2)]
        if (slots[entry] ^ low) | (slots[entry + U(1)] ^ high) | ((about & LENGTH_MASK) ^ U(length)) == U(0):
            return entry
        if about == U(0):
            return entry
        entry = entry + U(4) & mask


@jit(inline=True)
def find_long(data: Bytes1, start: int, length: int, hash: np.uint64, long_slots: Longs1, arena: Longs1) -> np.uint64:
    """The long slot of a word, or the empty one where it belongs."""
    mask = U(LONG_SLOTS - 1)
    slot = hash & mask
    while True:
        entry = long_slots[slot]
        if entry == U(0):
            return slot
        if (entry ^ hash) >> ARENA_BITS == U(0):
            place = np.int64(entry & U(ARENA_SIZE - 1))
            if arena[place] & LENGTH_MASK == U(length) and same_bytes(data, start, length, arena, place + 1):
                return slot
        slot = slot + U(1) & mask


@jit(inline=True)
def recall(arena: Longs1, place: int, count: int, ids: Ints1) -> None:
    """Copy the ids that begin at a place of the arena."""
    for k in range(count):
        ids[k] = arena[place + k]


@jit(inline=True)
def remember_short(
    low: np.uint64,
    high: np.uint64,
    length: int,
    ids: Ints1,
    count: int,
    slots: Longs1,
    entry: np.uint64,
    arena: Longs1,
    used: int,
) -> int:
    """Fill an entry. Returns how much of the arena is used then."""
    about = U(length) | U(count) << COUNT_SHIFT | U(ids[0]) << U(16)
    about |= U(ids[1]) << U(40) if count > 1 else U(0)
    rest = U(ids[2]) if count > 2 else U(0)
    rest |= U(ids[3]) << U(24) if count > 3 else U(0)
    if count > 4:
        rest = U(used)
        for k in range(count):
            arena[used + k] = U(ids[k])
        used += count
    slots[entry], slots[entry + U(1)], slots[entry + U(2)], slots[entry + U(3)] = low, high, about, rest
    return used


@jit()
def encode_words(
    data: Bytes1,
    starts: InInts1,
    n_words: Int,
    byte_ids: InInts1,
    byte_ranks: InInts1,
    pairs: InLongs1,
    made: InInts1,
    slots: Longs1,
    long_slots: Longs1,
    arena: Longs1,
    state: Int64s1,
    ids: Ints1,
) -> Int:
    """The tokens of words, into `ids`. Returns how many.

    Args:
        data: UTF-8, with 16 bytes after the last word.
        starts: (n_words + 1,) at least: where each word begins, and where the last one ends.
        n_words: how many there are.
        byte_ids, byte_ranks, pairs, made: of `MergeTables`.
        slots, long_slots, arena, state: of `WordMemory`.
        ids: 4 longer than the words have bytes, at least.
    """
    n_ids, low, high, hash, slot = U(0), U(0), U(0), U(0), U(0)
    end = int(starts[0])
    for word in range(n_words):
        start, end = end, int(starts[word + 1])
        length = end - start
        if length <= LONGEST_SHORT:
            low = load8(data, start) & mask_of(min(length, 8))
            high = load8(data, start + 8) & mask_of(max(length - 8, 0))
            slot = find_short(low, high, length, slots)
            about, rest = slots[slot + U(2)], slots[slot + U(3)]
            if about != U(0):
                ids[n_ids] = about >> U(16) & ID_MASK  # four at once, of which later words overwrite what is too much
                ids[n_ids + U(1)] = about >> U(40)
                ids[n_ids + U(2)] = rest & ID_MASK
                ids[n_ids + U(3)] = rest >> U(24)
                count = about >> COUNT_SHIFT & LENGTH_MASK
                if count > U(4):
                    recall(arena, np.int64(rest), np.int64(count), ids[n_ids:])
                n_ids += count
                continue
        elif length <= LONGEST:
            hash = hash_long(data, start, length)
            slot = find_long(data, start, length, hash, long_slots, arena)
            if long_slots[slot] != U(0):
                place = np.int64(long_slots[slot] & U(ARENA_SIZE - 1))
                count = arena[place] >> COUNT_SHIFT
                recall(arena, place + 1 + (length + 7 >> 3), np.int64(count), ids[n_ids:])
                n_ids += count
                continue
        its_ids = ids[n_ids:]
        n_its = merge_word(data[start:end], byte_ids, byte_ranks, pairs, made, its_ids)
        n_ids += U(n_its)
        used = state[ARENA_USED]
        if used + 1 + length + n_its <= ARENA_SIZE:
            if length <= LONGEST_SHORT:
                if state[N_SHORT] < slots.shape[0] * 3 // 16:
                    state[N_SHORT] += 1
                    state[ARENA_USED] = remember_short(low, high, length, its_ids, n_its, slots, slot, arena, used)
            elif length <= LONGEST and state[N_LONG] < LONG_SLOTS // 2:
                state[N_LONG] += 1
                long_slots[slot] = hash >> ARENA_BITS << ARENA_BITS | U(used)
                state[ARENA_USED] = remember_long(data, start, length, its_ids, n_its, arena, used)
    return np.int64(n_ids)  # type: ignore[return-value]  # an Int to who calls
