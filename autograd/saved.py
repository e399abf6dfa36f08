"""Arrays saved for backward are read-only until the graph lets go of them: a write raises where it happens.

NumPy's flag belongs to one array object, so the count is kept by object: an array saved by three nodes opens
again when the third is released. Arrays of other libraries have no such flag and are left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_lock = threading.RLock()  # re-entrant: a node may be collected, and release, while another is being saved
# id(array) -> [array, how many nodes hold it, views of it that wait]; only arrays that were writeable
_counts: dict[int, list[Any]] = {}


def protect(arrays: Iterable[object]) -> list[Any]:
    """Make the NumPy arrays among `arrays` read-only; returns those to hand to `release`."""
    held = []
    with _lock:
        for array in arrays:
            if not isinstance(array, np.ndarray):
                continue
            entry = _counts.get(id(array))
            if entry is not None:
                entry[1] += 1
            elif array.flags.writeable or _stops_waiting(array):
                array.flags.writeable = False
                _counts[id(array)] = [array, 1, []]
            else:
                continue  # the caller made it read-only: it stays so
            held.append(array)
    return held


def release(held: Iterable[Any]) -> None:
    """Undo one `protect`: an array that no other node holds can be written again."""
    with _lock:
        for array in held:
            entry = _counts[id(array)]
            entry[1] -= 1
            if entry[1] == 0:
                del _counts[id(array)]
                for closed in (array, *entry[2]):
                    _reopen(closed)


def _reopen(array: Any) -> None:
    """Make an array writeable; a view of an array that is still held waits for it, since NumPy refuses until then."""
    owner = array.base
    if owner is None or not isinstance(owner, np.ndarray) or owner.flags.writeable:
        array.flags.writeable = True
    elif id(owner) in _counts:
        _counts[id(owner)][2].append(array)


def _stops_waiting(array: Any) -> bool:
    """Whether `array` waited for its owner to be released; it no longer does, since it is held again itself."""
    waiting: list[Any] = _counts.get(id(array.base), [None, 0, []])[2]
    places = [i for i, view in enumerate(waiting) if view is array]
    for i in places:
        del waiting[i]
    return bool(places)


def shares_memory(array: object, others: Iterable[object]) -> bool:
    """Whether a NumPy array and one of the others may be views of the same bytes."""
    return isinstance(array, np.ndarray) and any(
        isinstance(other, np.ndarray) and np.may_share_memory(array, other) for other in others
    )


@dataclass
class Memory:
    """A block of memory that arrays lie in.

    Attributes:
        whole: its bytes, which live as long as one of the arrays does.
        used: bytes of the arrays, at most all of it: two views may overlap, and one may repeat what it shows.
    """

    whole: int
    used: int


def memory(values: Iterable[object]) -> dict[int, Memory]:
    """The blocks of memory that the arrays among `values` lie in, by the id of each block's owner."""
    blocks: dict[int, Memory] = {}
    for value in values:
        if hasattr(value, "nbytes"):
            owner: Any = value
            while getattr(owner, "base", None) is not None:
                owner = owner.base
            whole = getattr(owner, "nbytes", value.nbytes)  # a file that is mapped does not say
            block = blocks.setdefault(id(owner), Memory(whole, 0))
            block.used = min(whole, block.used + value.nbytes)
    return blocks
