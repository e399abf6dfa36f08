"""What a law is, and how its two sides are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.subject import Subject
from autograd.gradcheck.tolerance import allowed

Gradients: TypeAlias = Mapping[str, Array]


Rule: TypeAlias = Callable[[Subject, np.random.Generator], str | None]


@dataclass(frozen=True)
class Law:
    """A fact about the gradients of a subject.

    Attributes:
        name: what a report calls it.
        rule: asked with the subject and a generator for what it draws; answers None where the law holds, else one
            sentence: where it is broken, by how much, and what bug that points to.
        about: names of the inputs and parameters that the rule looks up.
    """

    name: str
    rule: Rule
    about: tuple[str, ...] = ()

    def broken(self, subject: Subject, rng: np.random.Generator) -> str | None:
        """None where the law holds, else one sentence.

        Raises:
            GradcheckError: the law is about something that the subject does not have.
        """
        for name in self.about:
            if name not in subject.values:
                raise GradcheckError(
                    f"the law {self.name!r} is about {name!r}, which is no input or parameter of {subject.name}: "
                    f"choose from {', '.join(subject.values)}"
                )
        return self.rule(subject, rng)


def unequal(what: str, got: Array, want: Array, bound: Array) -> str | None:
    """None where the arrays lie within `bound` of each other, else a clause on where they lie farthest apart."""
    excess = np.abs(got.astype(np.float64) - want) - bound
    if (excess <= 0).all():  # False for NaN
        return None
    worst = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
    limit = float(np.broadcast_to(bound, excess.shape)[worst])
    explained = f"rounding explains {limit:.1e}" if limit else "equal bit for bit by this law"
    return f"{what}{place(worst)} is {got[worst]:.6g}, not {np.broadcast_to(want, got.shape)[worst]:.6g} ({explained})"


def unequal_gradients(subject: Subject, got: Gradients, want: Gradients, noise: Gradients, n_terms: int) -> str | None:
    """`unequal` for each input and parameter that gets a gradient, where both sides were computed with rounding."""
    for name in subject.wrt:
        size = np.abs(got[name]) + np.abs(want[name])
        bound = allowed(subject.dtype, n_terms, size, noise[name])
        how = unequal(f"the gradient at {name}", got[name], want[name], bound)
        if how:
            return how
    return None


def other_values(x: Array, index: Any, rng: np.random.Generator) -> Array:
    """A copy of x with other numbers at `index`: floats are moved, an integer becomes the next one found in x."""
    changed = x.copy()
    if x.dtype.kind == "f":
        changed[index] += np.asarray(rng.standard_normal(x.shape), x.dtype)[index]
    else:
        found = np.unique(x)
        changed[index] = np.roll(found, -1)[np.searchsorted(found, x[index])]
    return changed


def place(index: tuple[np.intp, ...] | tuple[int, ...]) -> str:
    """An index for messages: "[0, 2]", or nothing for a number."""
    return f"[{', '.join(map(str, index))}]" if index else ""
