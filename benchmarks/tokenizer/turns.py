"""Calls that take turns in one process, after their results were seen to be equal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.rounds import rotated


class Disagreement(RuntimeError):
    """Two contestants do not give the same."""


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Args:
        run: is given what `prepare` gave.
        prepare: is called before each call, and not timed.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Seconds:
    """Of one call: the mean of each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, *, of: str, least_seconds: float
) -> dict[str, Seconds]:
    """The seconds of each, in rounds in which they take turns, after one call that shows that they give the same.

    Args:
        of: what they work on, for the message.
        least_seconds: of the calls in a round, about; there is one at least.

    Raises:
        Disagreement: one gives other ids than the first one.
    """
    n_calls: dict[str, int] = {}
    first: list[tuple[str, Any]] = []
    for name, contestant in contestants.items():
        seconds, result = time_once(contestant)
        ids = flat(result)
        first = first or [(name, ids)]
        if not np.array_equal(ids, first[0][1]):
            raise Disagreement(f"{name} does not give the ids of {first[0][0]} on {of}")
        seconds = min(seconds, time_once(contestant)[0]) if seconds < least_seconds else seconds
        n_calls[name] = max(1, round(least_seconds / seconds))
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds):
        for name in rotated(list(contestants), i):
            calls = [time_once(contestants[name])[0] for _ in range(n_calls[name])]
            found[name].append(statistics.fmean(calls))
    return {name: Seconds(times) for name, times in found.items()}


def time_once(contestant: Contestant) -> tuple[float, Any]:
    prepared = contestant.prepare()
    start = time.perf_counter()
    result = contestant.run(prepared)
    return time.perf_counter() - start, result  # to free a result is not timed


def flat(result: Any) -> Any:
    """The ids of one text or of several, (n,)."""
    if isinstance(result, list) and result and not isinstance(result[0], int):
        return np.concatenate([np.asarray(part, np.int64) for part in result])
    return np.asarray(result, np.int64)
