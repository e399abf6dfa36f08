"""A backward is a linear map of dy."""

from __future__ import annotations

import numpy as np

from autograd.gradcheck.arrays import upstream
from autograd.gradcheck.laws.law import Law, unequal
from autograd.gradcheck.subject import Subject
from autograd.gradcheck.tolerance import allowed


def _rule(subject: Subject, rng: np.random.Generator) -> str | None:
    y = subject.forward(subject.values)
    dy, other = upstream(y, rng), upstream(y, rng)
    a = subject.gradients(subject.values, dy)
    b = subject.gradients(subject.values, other)
    both = subject.gradients(subject.values, dy - other / 2)
    noise_a, noise_b = subject.noise(subject.values, dy), subject.noise(subject.values, other)
    for name in subject.wrt:
        # of dy1 and dy2, not of their difference: where that is near zero, the roundings of each still are not
        noise = noise_a[name] + noise_b[name]
        bound = allowed(subject.dtype, dy.size, np.abs(a[name]) + np.abs(b[name]), noise)
        how = unequal(f"the gradient for dy1 - dy2/2 at {name}", both[name], a[name] - b[name] / 2, bound)
        if how:
            return (
                f"{how}, that for dy1 minus half of that for dy2: a gradient is a sum of products with dy, and "
                "this one has a term without dy, a power of it, or a condition on it"
            )
    return None


linear_in_dy = Law("linear in dy", _rule)
"""dx(a dy1 + b dy2) = a dx(dy1) + b dx(dy2): by the chain rule, dx = J^T dy with a Jacobian J that knows no dy."""
