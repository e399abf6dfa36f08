"""Batches of windows: shuffled for training (`Loader`), in order for evaluation (`windows`).

A window is T + 1 consecutive tokens: the first T are the inputs, the last T the targets, so each position's target is
the token that follows it. Inputs and targets are int64 (B, T), C-contiguous, and belong to the caller.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autograd import workspace
from minillm.errors import UserError
from minillm.layers.cross_entropy import IGNORE_INDEX

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]  # inputs (B, T), targets (B, T)


class Loader:
    """An endless iterator over shuffled training windows of `tokens` (n,), which may be memory-mapped.

    An epoch lays a grid of windows that share no target over the tokens, beginning at a random offset in [0, T), and
    visits every window once in random order. The offset keeps windows from being cut at the same places in every
    epoch. Both follow from (seed, epoch) alone, so (epoch, index) is the exact position. A batch that reaches the end
    of an epoch is filled from the next one.

    Raises UserError where there are fewer than T + 1 tokens.
    """

    def __init__(self, tokens: NDArray[np.integer], batch_size: int, context_length: int, seed: int) -> None:
        if len(tokens) < context_length + 1:
            raise UserError(
                f"the training data has {len(tokens)} tokens, but a context of {context_length} needs at least "
                f"{context_length + 1}; give more data or a shorter context"
            )
        self.tokens = np.asarray(tokens)  # a memory map stays one, without the subclass
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self._enter(epoch=0)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        parts = []
        missing = self.batch_size
        while missing > 0:
            if self._index == len(self._starts):
                self._enter(self._epoch + 1)
            parts.append(self._starts[self._index : self._index + missing])
            self._index += len(parts[-1])
            missing -= len(parts[-1])
        return _gather(self.tokens, np.concatenate(parts), self.context_length)

    def state_dict(self) -> dict[str, Any]:
        """The position, for JSON: `epoch` and `index` of the next window, and what they are only valid for."""
        return {"epoch": self._epoch, "index": self._index, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position: the batches that follow are the same bit for bit.

        Raises UserError where the position was saved with another seed, context length or number of tokens.
        """
        given = {key: state.get(key) for key in self._identity()}
        if given != self._identity():
            raise UserError(
                f"the data position was saved with {given}, but this run has {self._identity()}; "
                "resume with the same data and settings, or start a new run"
            )
        self._enter(state["epoch"])
        self._index = state["index"]

    def _identity(self) -> dict[str, int]:
        return {"seed": self.seed, "context_length": self.context_length, "n_tokens": len(self.tokens)}

    def _enter(self, epoch: int) -> None:
        self._epoch, self._index = epoch, 0
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=(epoch,))))
        n_targets = len(self.tokens) - 1
        offset = rng.integers(min(self.context_length, n_targets - self.context_length + 1))  # at least one window
        n_windows = (n_targets - offset) // self.context_length
        self._starts = offset + self.context_length * rng.permutation(n_windows)  # (n_windows,)


def windows(tokens: NDArray[np.integer], context_length: int, batch_size: int) -> Iterator[Batch]:
    """All of `tokens` (n,) in order, for evaluation: every token but the first is a target exactly once.

    The last batch may have fewer rows; the last window is padded with input 0 and target IGNORE_INDEX.
    Raises UserError where there are fewer than two tokens, hence nothing to predict.
    """
    if len(tokens) < 2:
        raise UserError(
            f"the validation data has {len(tokens)} tokens, but an evaluation needs at least 2; "
            "give more data or a larger validation fraction"
        )
    tokens = np.asarray(tokens)
    starts = np.arange(0, len(tokens) - 1, context_length)  # (n_windows,)
    rows = (starts[i : i + batch_size] for i in range(0, len(starts), batch_size))
    return (_gather(tokens, row, context_length) for row in rows)


def _gather(tokens: NDArray[np.integer], starts: NDArray[np.int64], context_length: int) -> Batch:
    """The windows that begin at `starts` (B,), padded where they reach past the end."""
    shape = len(starts), context_length
    inputs, targets = workspace.empty(shape, np.int64), workspace.empty(shape, np.int64)  # (B, T) each
    for row, start in enumerate(starts):
        window = tokens[start : start + context_length + 1]  # (n + 1,), n at most T
        n = len(window) - 1
        inputs[row, :n], targets[row, :n] = window[:-1], window[1:]
        inputs[row, n:], targets[row, n:] = 0, IGNORE_INDEX
    return inputs, targets
