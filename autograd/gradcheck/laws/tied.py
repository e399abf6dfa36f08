"""A parameter that is used twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.laws.law import Law, unequal
from autograd.gradcheck.subject import Subject
from autograd.gradcheck.tape import Recorded
from autograd.gradcheck.tolerance import allowed
from autograd.tensor import Tensor


def tied(name: str, untied: Callable[..., Any], parameters: Mapping[str, Tensor], uses: Sequence[str]) -> Law:
    """d<name> = sum of d<use> over `uses`, parameters of a twin that has one of its own for each use.

    With w1 = w2 = w the chain rule gives dL/dw = dL/dw1 + dL/dw2.

    Args:
        name: of the tied parameter.
        untied: the twin, a function of the same inputs.
        parameters: all of the twin's, by name. Those not in `uses` have the names they have in the function checked,
            and every one gets its value from there.
        uses: names of the twin's parameters that are tied in the function checked.
    """

    def rule(subject: Subject, rng: np.random.Generator) -> str | None:
        names = [n for n in subject.values if n != name and n not in parameters]
        twin = Recorded(
            untied,
            [subject.values[n] for n in names],
            subject.attributes,
            parameters=parameters,
            constants=[n for n in names if n not in subject.wrt and hasattr(subject.values[n], "dtype")],
            dtype=subject.dtype,
            seed=subject.seed,
            names=names,
        )
        dy = upstream(subject.forward(subject.values), rng)
        values = {n: subject.values[name if n in uses else n] for n in twin.values}
        by_use = twin.gradients(values, dy)
        noise = subject.noise(subject.values, dy)[name]
        each = np.stack([by_use[use] for use in uses])  # (uses, *shape)
        bound = allowed(subject.dtype, dy.size, np.abs(each).sum(0), noise)
        gradient = subject.gradients(subject.values, dy)[name]
        how = unequal(f"the gradient at {name}", gradient, each.sum(0), bound)
        return how and (
            f"{how}, the sum over its uses ({', '.join(uses)}): one use is left out, counted twice, or overwritten"
        )

    return Law(f"d{name} is the sum of its uses", rule, (name,))
