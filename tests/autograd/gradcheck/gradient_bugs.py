"""Gradients with one bug each, in the layers' own NumPy code: what a diagnosis must recognise.

They are in attention_bugs.py and layer_bugs.py. A bug draws its shapes with `size(low, high)`, its numbers from `rng`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.diagnosis import Evidence, Kind
from autograd.gradcheck.oracles import complex_step

Values = Mapping[str, Array]
Size = Callable[[int, int], int]


@dataclass(frozen=True)
class Case:
    """A function of named arrays, and the wrong gradient of the one called `name`."""

    name: str
    values: Values
    forward: Callable[..., Array]
    gradient: Callable[[Array], Array]


Bug = Callable[[Size, np.random.Generator], Case]
BUGS: dict[str, tuple[Kind, Bug]] = {}


def bug(kind: Kind) -> Callable[[Bug], Bug]:
    """Decorator: this bug is of that kind."""

    def register(make: Bug) -> Bug:
        BUGS[make.__name__] = kind, make
        return make

    return register


def evidence(case: Case, rng: np.random.Generator, n_more: int = 3, responses: bool = True) -> Evidence | None:
    """All that is known about the wrong gradient, or None where the bug happens to do no harm."""
    x, y = case.values[case.name], case.forward(**case.values)
    numbers = {name: value.astype(complex) for name, value in case.values.items()}

    def slope(place: tuple[int, ...]) -> Array:
        v = np.zeros(x.shape)
        v[place] = 1
        found = complex_step(lambda t: case.forward(**{**numbers, case.name: x + t * v}), np.ones(y.shape))
        assert found is not None
        return found.terms

    slopes = np.reshape([slope(place) for place in np.ndindex(x.shape)], (*x.shape, *y.shape))
    over = tuple(range(x.ndim, slopes.ndim))
    dys = [np.asarray(rng.standard_normal(y.shape)) for _ in range(1 + n_more)]
    pairs = [(case.gradient(dy), np.asarray((slopes * dy).sum(over))) for dy in dys]
    analytic, numeric = pairs[0]
    same_shape = analytic is not None and analytic.shape == numeric.shape
    wrong = np.ones(numeric.shape, bool)
    if same_shape:
        wrong = ~(np.abs(analytic - numeric) <= 1e-9 * np.abs(numeric).max(initial=0))
    if not wrong.any():
        return None
    more = pairs[1:] if same_shape else ()
    by_y = None
    if same_shape and responses:
        one_at_a_time = [case.gradient(np.reshape(row, y.shape)) for row in np.diag(dys[0].ravel())]
        by_y = np.reshape(np.stack(one_at_a_time, -1), slopes.shape)
    return Evidence(case.name, analytic, numeric, wrong, slopes * dys[0], case.values, y, dys[0], more, 1e-5, by_y)
