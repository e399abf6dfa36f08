"""Laws that gradients obey whatever the numbers are. They catch what no finite difference sees, and say what is wrong.

A law is handed the subject (see `subject.py`) and a generator; it answers None, or one sentence on how it is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autograd.gradcheck.subject import Subject, upstream
from autograd.gradcheck.tolerance import allowed


@dataclass(frozen=True)
class Law:
    """`broken(subject, rng)` is None where the law holds, else one sentence."""

    name: str
    broken: Callable[[Subject, np.random.Generator], str | None]


def _linear_in_dy(subject: Subject, rng: np.random.Generator) -> str | None:
    y = subject.forward(subject.values)
    dy, other = upstream(y, rng), upstream(y, rng)
    a = subject.gradients(subject.values, dy)
    b = subject.gradients(subject.values, other)
    both = subject.gradients(subject.values, dy - other / 2)
    noise = subject.noise(subject.values, dy - other / 2)
    for name in subject.wrt:
        size = np.abs(a[name]) + np.abs(b[name])
        difference = np.abs(a[name] - b[name] / 2 - both[name])
        if not (difference <= allowed(subject.dtype, dy.size, size, noise[name])).all():
            return f"the gradient of {name} for dy1 - dy2/2 is not that for dy1 minus half of that for dy2"
    return None


linear_in_dy = Law("linear in dy", _linear_in_dy)
