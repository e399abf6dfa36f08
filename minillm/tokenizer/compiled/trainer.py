"""Merges learned from counted words, compiled: the twin of `training.train_merges`.

All words lie behind one another, and what is known of a byte's place stands in one row. A token stands at the place of
its first byte and knows its neighbours; a pair stands where its left token does. Each pair has a list of its places, in
their order. Places are added only: one that has another pair by now is passed over when the list is read.

A merge makes pairs with the new token only, and all their places at once. So a pair is found by its other token in an
array, with no hashing, and later only loses places: where it waits in the heap is right or too good, and is put right
when it comes out. And a pair that occurs less often than others that are there need not wait yet: the heap has those
above a level, which is halved when there are none left. Most pairs are never in it.
"""

from __future__ import annotations

import numpy as np

from autograd.jit import Bool, Ids1, Int, Int64s1, Int64s2, Ints1, Ints2, jit
from minillm.errors import UserError
from minillm.tokenizer.compiled import heap
from minillm.tokenizer.compiled.counter import CountedWords
from minillm.tokenizer.compiled.heap import drop_first, push, replace_first
from minillm.tokenizer.training import ByteOrder, Pair, Progress, Tie, bytes_in_order

NONE = -1
TOKEN, LEFT, RIGHT, WORD, PAIR = range(5)  # of a place: its token, the places of the tokens beside it, word and pair
LEFT_ID, RIGHT_ID, FIRST, LAST = range(4)  # of a pair: its ids, and the ends of its list
PLACE, NEXT = range(2)  # of an entry in a list
# of the state: how much of the arrays is in use, and how often pairs occur that wait
N_MERGES, N_PAIRS, N_LISTED, N_WAITING, LEVEL = range(5)
MOST_BYTES = 700_000_000  # places in lists are int32, and there may be three times as many
MERGES_A_CALL = 1000  # between two reports of progress


def train_merges(
    words: CountedWords,
    n_merges: int,
    *,
    byte_order: ByteOrder = "gpt2",
    min_frequency: int = 1,
    tie: Tie = "id",
    progress: Progress = lambda n_made: None,
) -> list[Pair]:
    """What `training.train_merges` gives.

    Raises:
        UserError: the words have more than MOST_BYTES bytes together.
    """
    N = len(words.data)
    if N > MOST_BYTES:
        raise UserError(
            f"the distinct words of the text have {N:,} bytes, and {MOST_BYTES:,} can be trained on: give less text"
        )
    if tie == "id":
        words = words.sorted()  # which takes less time than it saves, a quarter: there are fewer cache misses
    ids = np.empty(256, np.int32)
    for id, byte in enumerate(bytes_in_order(byte_order)):
        ids[byte[0]] = id
    n_merges = min(n_merges, N)
    tokens = ids[words.data]  # (N,)
    places = np.empty((N, 5), np.int32)
    listed = np.empty((3 * N, 2), np.int32)  # N at first, and two with each merge of two places
    with_left, with_right = np.full((2, max(256 + n_merges, 1 << 16)), NONE, np.int32)
    pairs = np.empty((1 << 17, 4), np.int32)
    pair_counts = np.empty(len(pairs), np.int64)  # how often each occurs
    waiting = np.empty((len(pairs), 3), np.int64)
    merges = np.empty((n_merges, 2), np.int64)
    state = np.zeros(5, np.int64)
    min_frequency = max(min_frequency, 1)
    _begin(tokens, words.starts, words.counts, places, pairs, pair_counts, listed, with_left, state)
    state[LEVEL] = pair_counts[: state[N_PAIRS]].max(initial=0) + 1
    while state[N_MERGES] < n_merges and (state[N_WAITING] or state[LEVEL] > min_frequency):
        until = min(n_merges, int(state[N_MERGES]) + MERGES_A_CALL)
        room = 2 * (256 + until)  # for the pairs of a merge
        if len(pairs) - state[N_PAIRS] < room:
            more = len(pairs) + room
            pairs = np.concatenate([pairs, np.empty((more, 4), np.int32)])
            pair_counts = np.concatenate([pair_counts, np.empty(more, np.int64)])
            waiting = np.concatenate([waiting, np.empty((more, 3), np.int64)])
        _merge(
            until, min_frequency, tie == "first",
            words.counts, places, pairs, pair_counts, listed, waiting, with_left, with_right, merges, state,
        )  # fmt: skip
        progress(int(state[N_MERGES]))
    left, right = merges[: state[N_MERGES]].T.tolist()
    return list(zip(left, right, strict=True))


@jit()
def _begin(
    tokens: Ints1,
    starts: Ids1,
    counts: Ids1,
    places: Ints2,
    pairs: Ints2,
    pair_counts: Int64s1,
    listed: Ints2,
    known: Ints1,
    state: Int64s1,
) -> None:
    """Each byte's place and the pairs of bytes. `known` has the number of each pair on the way, and NONE after."""
    for w in range(counts.shape[0]):
        for p in range(starts[w], starts[w + 1]):
            places[p, TOKEN] = tokens[p]
            places[p, WORD] = w
            places[p, LEFT] = p - 1
            places[p, RIGHT] = p + 1
            places[p, PAIR] = NONE
        if starts[w] < starts[w + 1]:
            places[starts[w], LEFT] = NONE
            places[starts[w + 1] - 1, RIGHT] = NONE
        for p in range(starts[w], starts[w + 1] - 1):
            both = tokens[p] << 8 | tokens[p + 1]
            if known[both] == NONE:
                known[both] = _new_pair(tokens[p], tokens[p + 1], pairs, pair_counts, state)
            _add_place(known[both], p, counts[w], places, pairs, pair_counts, listed, state)
    for pair in range(state[N_PAIRS]):
        known[pairs[pair, LEFT_ID] << 8 | pairs[pair, RIGHT_ID]] = NONE


@jit()
def _merge(
    until: Int,
    min_frequency: Int,
    by_place: Bool,
    counts: Ids1,
    places: Ints2,
    pairs: Ints2,
    pair_counts: Int64s1,
    listed: Ints2,
    waiting: Int64s2,
    with_left: Ints1,
    with_right: Ints1,
    merges: Int64s2,
    state: Int64s1,
) -> None:
    """Merge until there are `until` merges, no pair is frequent enough, or `pairs` may lack rows for the next."""
    while state[N_MERGES] < until:
        if state[N_WAITING] == 0:
            if state[LEVEL] <= min_frequency:
                break
            state[LEVEL] = max(min_frequency, state[LEVEL] // 2)
            for pair in range(state[N_PAIRS]):
                if pair_counts[pair] >= state[LEVEL]:
                    key = _key(pair, by_place, places, pairs, listed)
                    push(waiting, state[N_WAITING], pair_counts[pair], key, pair)
                    state[N_WAITING] += 1
            continue
        token = 256 + state[N_MERGES]
        if pairs.shape[0] - state[N_PAIRS] < 2 * token + 1:
            break
        pair = waiting[0, heap.PAIR]
        count = pair_counts[pair]
        if count < state[LEVEL]:  # others took its tokens
            drop_first(waiting, state[N_WAITING])
            state[N_WAITING] -= 1
            continue
        key = _key(pair, by_place, places, pairs, listed)
        if count != waiting[0, heap.COUNT] or key != waiting[0, heap.KEY]:
            replace_first(waiting, state[N_WAITING], count, key, pair)
            continue
        drop_first(waiting, state[N_WAITING])
        state[N_WAITING] -= 1
        merges[state[N_MERGES], 0] = pairs[pair, LEFT_ID]
        merges[state[N_MERGES], 1] = pairs[pair, RIGHT_ID]
        state[N_MERGES] += 1
        first_made = state[N_PAIRS]
        entry = pairs[pair, FIRST]
        while entry != NONE:
            p = int(listed[entry, PLACE])
            entry = int(listed[entry, NEXT])
            if places[p, PAIR] == pair:
                _merge_at(
                    p, token, counts[places[p, WORD]], places, pairs, pair_counts, listed, with_left, with_right, state
                )
        pair_counts[pair] = 0
        for made in range(first_made, state[N_PAIRS]):
            with_left[pairs[made, LEFT_ID]] = NONE
            with_right[pairs[made, RIGHT_ID]] = NONE
            if pair_counts[made] >= state[LEVEL]:
                key = _key(made, by_place, places, pairs, listed)
                push(waiting, state[N_WAITING], pair_counts[made], key, made)
                state[N_WAITING] += 1


@jit(inline=True)
def _merge_at(
    p: int,
    token: int,
    count: int,
    places: Ints2,
    pairs: Ints2,
    pair_counts: Int64s1,
    listed: Ints2,
    with_left: Ints1,
    with_right: Ints1,
    state: Int64s1,
) -> None:
    """The token at p and the one after it become `token`. The pairs with their neighbours go, and others come."""
    left, second = int(places[p, LEFT]), int(places[p, RIGHT])
    right, right_pair = int(places[second, RIGHT]), places[second, PAIR]
    places[p, TOKEN] = token
    places[p, RIGHT] = right
    places[p, PAIR] = NONE
    places[second, PAIR] = NONE
    if left != NONE:
        pair_counts[places[left, PAIR]] -= count
        neighbour = places[left, TOKEN]
        if with_left[neighbour] == NONE:
            with_left[neighbour] = _new_pair(neighbour, token, pairs, pair_counts, state)
        _add_place(with_left[neighbour], left, count, places, pairs, pair_counts, listed, state)
    if right != NONE:
        places[right, LEFT] = p
        pair_counts[right_pair] -= count
        neighbour = places[right, TOKEN]
        if with_right[neighbour] == NONE:
            with_right[neighbour] = _new_pair(token, neighbour, pairs, pair_counts, state)
        _add_place(with_right[neighbour], p, count, places, pairs, pair_counts, listed, state)


@jit(inline=True)
def _new_pair(left: int, right: int, pairs: Ints2, pair_counts: Int64s1, state: Int64s1) -> int:
    """The number of a pair that was not there before."""
    pair = int(state[N_PAIRS])
    pair_counts[pair] = 0
    pairs[pair, LEFT_ID] = left
    pairs[pair, RIGHT_ID] = right
    pairs[pair, FIRST] = NONE
    state[N_PAIRS] = pair + 1
    return pair


@jit(inline=True)
def _add_place(
    pair: int, p: int, count: int, places: Ints2, pairs: Ints2, pair_counts: Int64s1, listed: Ints2, state: Int64s1
) -> None:
    """The pair stands at p, in a word that occurs `count` times."""
    entry = state[N_LISTED]
    state[N_LISTED] = entry + 1
    listed[entry, PLACE] = p
    listed[entry, NEXT] = NONE
    if pairs[pair, FIRST] == NONE:
        pairs[pair, FIRST] = entry
    else:
        listed[pairs[pair, LAST], NEXT] = entry
    pairs[pair, LAST] = entry
    pair_counts[pair] += count
    places[p, PAIR] = pair


@jit(inline=True)
def _key(pair: int, by_place: bool, places: Ints2, pairs: Ints2, listed: Ints2) -> int:
    """What orders pairs that occur equally often: their ids, or the first place of each."""
    if not by_place:
        return int(pairs[pair, LEFT_ID]) << 32 | int(pairs[pair, RIGHT_ID])
    entry = pairs[pair, FIRST]
    while places[listed[entry, PLACE], PAIR] != pair:
        entry = int(listed[entry, NEXT])
    pairs[pair, FIRST] = entry  # what was before it has another pair for ever
    return int(listed[entry, PLACE])
