"""Choosing the next token from the logits of one position. Pure functions of one row, in float64.

temperature   probs = softmax(logits / temperature); 0 is greedy: the likeliest token
top-k         only the k likeliest tokens can come. Fan et al. 2018, arXiv:1805.04833
top-p         only the nucleus can: the fewest tokens, likeliest first, whose probabilities reach p.
              Holtzman et al. 2019, arXiv:1904.09751

top-p applies to what temperature and top-k left, scaled to add up to one. Of equal tokens the lower id goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import UserError

Logits = NDArray[np.floating[Any]]
Row = NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How to choose a token from its logits.

    Raises:
        UserError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise UserError(f"temperature is {self.temperature}: give 0 (the likeliest token) or a number above")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}: give a whole number of at least 1, or leave it out")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}: give a probability above 0 and at most 1, or leave it out")

    def probs(self, logits: Logits) -> Row:
        """Probabilities (V,) by which the next token is drawn from logits (V,).

        Raises:
            UserError: the logits hold NaN or plus infinity, or are all minus infinity.
        """
        _check_finite(logits)
        x = logits.astype(np.float64)  # (V,)
        k = 1 if self.temperature == 0 else self.top_k
        if k is not None:
            x = keep_likeliest(x, k)  # before any rounding could make two of them equal
        if self.temperature > 0:
            with np.errstate(over="ignore"):  # a tiny temperature sends all but the likeliest to minus infinity
                x = (x - x.max()) / self.temperature  # (V,)
        if self.top_p is not None:
            x = keep_likeliest(x, nucleus_size(softmax(x), self.top_p))
        return softmax(x)

    def draw(self, logits: Logits, rng: np.random.Generator) -> int:
        """A token id for logits (V,), by one number of `rng`, or none if greedy. Raises UserError as `probs` does."""
        if self.temperature == 0:
            _check_finite(logits)
            return int(logits.argmax())
        cdf = np.cumsum(self.probs(logits))  # (V,)
        # the first id whose cdf is above the number: never one of probability zero
        return int(np.searchsorted(cdf, rng.random() * cdf[-1], side="right"))


def _check_finite(logits: Logits) -> None:
    largest = logits.max()  # of a row with NaN it is NaN
    if not np.isfinite(largest):
        raise UserError(
            f"the model's largest logit is {largest}, so no token can be chosen: its weights are broken; "
            "use a checkpoint from before the loss stopped being finite"
        )


def softmax(x: Row) -> Row:
    """Probabilities of logits (V,)."""
    e = np.exp(x - x.max())  # (V,)
    probs: Row = e / e.sum()
    return probs


def keep_likeliest(x: Row, k: int) -> Row:
    """Logits (V,) with all but the k largest set to minus infinity; of equal ones the lower id is kept."""
    if k >= len(x):
        return x
    smallest = np.partition(x, -k)[-k]  # of those kept: a selection, which is faster than a sort
    kept = np.where(x > smallest, x, -np.inf)  # (V,)
    equal = np.flatnonzero(x == smallest)  # ids
    kept[equal[: k - np.count_nonzero(x > smallest)]] = smallest
    return kept


def nucleus_size(probs: Row, p: float) -> int:
    """The fewest tokens, likeliest first, whose probabilities (V,) add up to p or more."""
    reached = np.cumsum(np.sort(probs)[::-1])  # (V,)
    return int(np.searchsorted(reached, p)) + 1
