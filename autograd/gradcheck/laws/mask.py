"""What a mask must hide is hidden exactly: masked terms are multiplied by zero, so these laws hold bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.laws.law import Law, other_values, place, unequal, unequal_gradients
from autograd.gradcheck.subject import Subject, Values


def causal(*names: str, axis: int = 1) -> Law:
    """dy_t/dx_s = 0 exactly for s > t, with positions t of y and s of each input in `names` along `axis`.

    Other inputs after t change no bit of y up to t; and where dy is 0 after t, so is the gradient. Integers are
    checked by the first half alone.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        values = subject.values
        y = subject.forward(values)
        if y.ndim <= axis:
            raise GradcheckError(
                f"causality is along axis {axis} of y, and {subject.name} returned y of shape {y.shape}"
            )
        for t in range(y.shape[axis] - 1):
            earlier = (*[slice(None)] * axis, slice(t + 1))
            later = (*[slice(None)] * axis, slice(t + 1, None))
            for name in names:
                other = subject.forward({**values, name: other_values(values[name], later, rng)})
                how = unequal("y", other[earlier], y[earlier], np.zeros(()))
                if how:
                    return f"{how} when {name} changes after position {t}: wrong mask, output t depends on input s > t"
            dy = upstream(y, rng).copy()
            dy[later] = 0
            gradients = subject.gradients(values, dy)
            for name in names:
                if name in gradients and gradients[name][later].any():
                    return (
                        f"{_nonzero(name, gradients[name], later)} though dy is zero after position {t}: wrong mask in "
                        "the backward, the gradient of output t reaches input s > t"
                    )
        return None

    return Law(f"causal in {', '.join(names)}", rule, names)


def padding(*names: str, mask: str = "mask") -> Law:
    """y and every gradient are the same whatever stands where the mask (B, T) is False, and dx is 0 there, bit for bit.

    Where y has axes (B, T), it and dy count at positions that the mask lets through; dy is 0 elsewhere.

    Args:
        names: the inputs that have axes (B, T).
        mask: name of the input that is the mask.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        values, real = subject.values, subject.values[mask]
        y = subject.forward(values)
        dy = upstream(y, rng).copy()
        if y.ndim:
            dy[~real] = 0
        other = {**values, **{name: other_values(values[name], ~real, rng) for name in names}}
        seen = real if y.ndim else ...
        how = unequal("y at what is no padding, ", subject.forward(other)[seen], y[seen], np.zeros(()))
        if how:
            return f"{how} when the padding changes: wrong mask, padding leaks into y"
        gradients = subject.gradients(values, dy)
        for name in names:
            if name in gradients and gradients[name][~real].any():
                return f"{_nonzero(name, gradients[name], ~real)} in the padding: wrong mask in the backward"
        changed = subject.gradients(other, dy)
        how = unequal_gradients(subject, changed, gradients, subject.noise(values, dy), dy.size)
        return how and f"{how} when the padding changes: wrong mask, padding leaks into a gradient"

    return Law("padding changes nothing", rule, (*names, mask))


def masked_rows(rows: Callable[[Values], Array]) -> Law:
    """y is 0 at `rows`, those whose every key is masked; a dy at these rows alone gives gradients that are all 0.

    Their softmax is over nothing. Computed without care it is 0/0, and one NaN in a row makes every gradient NaN.

    Args:
        rows: from the values by name, booleans of y's leading axes, True where everything is masked.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        empty = rows(subject.values)
        y = subject.forward(subject.values)
        how = unequal("y at fully masked rows, ", y[empty], np.zeros(()), np.zeros(()))
        if how:
            return f"{how}: wrong mask, a row with nothing to attend to attends to something, or divides by zero"
        dy = upstream(y, rng)
        for name, g in subject.gradients(subject.values, dy).items():
            if not np.isfinite(g).all():
                return f"{_nonzero(name, g, ~np.isfinite(g))} where some rows are fully masked: 0/0 in the backward"
        only_there = np.where(_along(empty, y), dy, np.zeros((), y.dtype))
        for name, g in subject.gradients(subject.values, only_there).items():
            if g.any():
                return f"{_nonzero(name, g, ...)} for a dy at fully masked rows only: wrong mask in the backward"
        return None

    return Law("fully masked rows are zero", rule)


def _along(rows: Array, y: Array) -> Array:
    """`rows` with axes of 1 appended, to broadcast against y."""
    return rows.reshape(*rows.shape, *[1] * (y.ndim - rows.ndim))


def _nonzero(name: str, g: Array, index: Any) -> str:
    """A clause on the first place within `index` where the gradient is not zero."""
    inside = np.zeros(g.shape, bool)
    inside[index] = True
    worst = tuple(np.argwhere(inside & (g != 0))[0])
    return f"the gradient at {name}{place(worst)} is {g[worst]:.6g}, not 0,"
