"""Sums over gradients that are zero whatever the inputs are, since moving the input that way does not change y.

If y(x + t v) = y(x) for all t, then 0 = dy . dy/dt = dx . v: the gradient is orthogonal to v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.laws.law import Gradients, Law, unequal
from autograd.gradcheck.subject import Subject, Values
from autograd.gradcheck.tolerance import allowed

Axes: TypeAlias = int | tuple[int, ...]


def vanishes(
    name: str, terms: Callable[[Gradients, Values], Array], axis: Axes, bug: str, about: tuple[str, ...] = ()
) -> Law:
    """sum over `axis` of terms(gradients, values) = 0.

    Args:
        name: of the law.
        terms: what is summed, linear in the gradients; both arguments hold float64 arrays by name.
        axis: of the terms; () where each is zero by itself.
        bug: what a sum other than zero points to.
        about: names that `terms` looks up.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        dy = upstream(subject.forward(subject.values), rng)
        gradients = subject.gradients(subject.values, dy)
        exact = subject.recast("float64")
        summed = terms({n: g.astype(np.float64) for n, g in gradients.items()}, exact)
        noise = np.abs(terms(subject.noise(subject.values, dy), exact)).sum(axis)
        bound = allowed(subject.dtype, dy.size + summed.size, np.abs(summed).sum(axis), noise)
        total = np.asarray(summed.sum(axis))
        how = unequal("the sum", total, np.zeros(total.shape), bound)
        return how and f"{how}: {bug}"

    return Law(name, rule, about)


def sums_to_zero(name: str, axis: Axes = -1) -> Law:
    """sum over `axis` of d<name> = 0, for a y that does not change when a constant is added along `axis`.

    So it is for softmax, whose rows stay the same, for cross-entropy's logits, and for LayerNorm's x.
    """
    return vanishes(
        f"d{name} sums to zero over axis {axis}",
        lambda gradients, _: gradients[name],
        axis,
        f"y does not change when a constant is added to {name} along axis {axis}, so a term is missing from its "
        "gradient, the one that subtracts a mean, or it runs over another axis",
        about=(name,),
    )


def orthogonal(name: str, to: str, direction: Callable[[Values], Array], axis: Axes = -1) -> Law:
    """sum over `axis` of d<name> * direction(values) = 0, for a y that does not change along `direction`.

    LayerNorm with eps = 0 gives the same for x and for a multiple of x - mean, so its dx is orthogonal to xhat.

    Args:
        to: what to call the direction.
        direction: an array that broadcasts against d<name>, from the values as float64 arrays by name.
    """
    return vanishes(
        f"d{name} is orthogonal to {to}",
        lambda gradients, values: gradients[name] * direction(values),
        axis,
        f"y does not change when {name} moves along {to}, so the term of its gradient that removes this direction is "
        "missing or wrong",
        about=(name,),
    )
