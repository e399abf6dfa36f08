"""Rows of a batch and documents of a row do not see each other: they may be permuted, or computed apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.laws.law import Law, unequal_gradients
from autograd.gradcheck.subject import Subject, Values

Count: TypeAlias = Callable[[Values], float]


def batch_permutation(*names: str) -> Law:
    """dx(P x, P dy) = P dx(x, dy) for each input in `names`, and dw(P x, P dy) = dw(x, dy) for everything else.

    P permutes axis 0, of y too if it has axes: each row is computed by itself, and a sum over rows knows no order.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        values = subject.values
        y = subject.forward(values)
        dy = upstream(y, rng)
        order = np.roll(np.arange(len(values[names[0]])), 1)
        gradients = subject.gradients(values, dy)
        permuted = subject.gradients(
            {**values, **{name: values[name][order] for name in names}}, dy[order] if y.ndim else dy
        )
        want = {name: g[order] if name in names else g for name, g in gradients.items()}
        noise = {name: g[order] if name in names else g for name, g in subject.noise(values, dy).items()}
        how = unequal_gradients(subject, permuted, want, noise, dy.size)
        return how and f"with the batch permuted {how}: a row's gradient depends on its place or on the other rows"

    return Law("batch permutation", rule, names)


def micro_batches(*names: str, count: Count | None = None) -> Law:
    """dw(x) = sum_i share_i dw(x_i), with the batch x cut along axis 0 into parts x_i; dx likewise, part by part.

    The gradient of a sum is the sum of the gradients. share_i is 1 where y has a row for each row of x or
    is a sum over them, and count(x_i) / count(x) where y is a mean.

    Args:
        names: the inputs that have a batch axis.
        count: how many terms the mean is over, from the values by name; None if y is no mean.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        values = subject.values
        n = len(values[names[0]])
        parts = [(rows, {name: values[name][rows] for name in names}) for rows in (np.s_[: n // 2], np.s_[n // 2 :])]
        how = _adds_up(subject, names, parts if n > 1 else parts[1:], count, rng)
        return how and (
            f"{how}, the sum over the batch's two parts: gradients are not accumulated, or a mean is taken over the "
            "wrong count"
        )

    return Law("micro-batches = full batch", rule, names)


def separate_documents(*names: str, mask: str = "mask", count: Count | None = None) -> Law:
    """dw(x) = sum_i share_i dw(x_i), where x_i is one document of a row, cut out and with nothing else beside it.

    A mask makes documents strangers to each other, so it must equal computing them apart. A mask (B, T) of padding
    makes one document of a row, and "masked = shorter" is this law; a mask (B, T, T) makes a document of the positions
    that see the same keys. What is in no document gets dy = 0, and a gradient of 0.

    Args:
        names: the inputs that have axes (B, T).
        mask: name of the input that is the mask.
        count: as in `micro_batches`.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        values = subject.values
        parts = []
        for b, t in _documents(values[mask]):
            index = (slice(b, b + 1), t)
            alone = np.ones((1, *[len(t)] * (values[mask].ndim - 1)), bool)
            parts.append((index, {**{name: values[name][index] for name in names}, mask: alone}))
        how = _adds_up(subject, names, parts, count, rng)
        return how and (
            f"{how}, as for the documents one by one: wrong mask, one document depends on another or on padding"
        )

    return Law("masked = separate documents", rule, (*names, mask))


def _adds_up(
    subject: Subject,
    names: Sequence[str],
    parts: Sequence[tuple[Any, Values]],
    count: Count | None,
    rng: np.random.Generator,
) -> str | None:
    """How the gradients differ from those of the parts together; a part is an index into x and y, and new values."""
    values = subject.values
    y = subject.forward(values)
    dy = upstream(y, rng)
    if y.ndim:
        inside = np.zeros(y.shape, bool)
        for index, _ in parts:
            inside[index] = True
        dy = np.where(inside, dy, 0)
    want = {name: np.zeros(values[name].shape) for name in subject.wrt}
    for index, new in parts:
        part = {**values, **new}
        share = 1.0 if count is None else count(part) / max(count(values), 1)
        part_dy = np.asarray(dy[index] if y.ndim else dy * share, y.dtype)
        for name, g in subject.gradients(part, part_dy).items():
            want[name][index if name in names else ...] += g
    return unequal_gradients(subject, subject.gradients(values, dy), want, subject.noise(values, dy), dy.size)


def _documents(mask: Array) -> Iterator[tuple[int, Array]]:
    """(row, positions) of each document in a mask (B, T) or (B, T, T); a position that sees nothing is in none."""
    for b, row in enumerate(mask):
        if row.ndim == 1:
            document = np.where(row, 0, -1)  # (T,)
        else:
            document = np.unique(row, axis=0, return_inverse=True)[1].reshape(-1)  # (T,), alike for the same keys
            document = np.where(row.any(-1), document, -1)
        for i in range(document.max() + 1):
            t = np.flatnonzero(document == i)
            if len(t):
                yield b, t
