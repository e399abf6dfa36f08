"""Numeric gradients of a case: two independent ways, both far from how the backward was derived."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case


def central_difference(case: Case, inputs: list[Any], i: int, dy: Any, step: float = 1e-6) -> Any:
    """Gradient of sum(dy * y) for input i: (f(x + h) - f(x - h)) / 2h, element by element."""
    gradient = np.zeros_like(inputs[i])
    for place in np.ndindex(inputs[i].shape):
        values = []
        for h in (step, -step):
            moved = inputs[i].copy()
            moved[place] += h
            y, _ = case.run([*inputs[:i], moved, *inputs[i + 1 :]])
            values.append((dy * y).sum())
        gradient[place] = (values[0] - values[1]) / (2 * step)
    return gradient


def complex_step(case: Case, inputs: list[Any], i: int, dy: Any) -> Any:
    """Gradient of sum(dy * y) for input i: Im f(x + ih) / h, exact to rounding. Squire & Trapp 1998."""
    h = 1e-30
    inputs = [
        x + 0j if getattr(x, "dtype", None) == np.float64 and j not in case.constants else x
        for j, x in enumerate(inputs)
    ]
    gradient = np.zeros(inputs[i].shape)
    for place in np.ndindex(inputs[i].shape):
        moved = np.array(inputs[i])
        moved[place] += 1j * h
        y, _ = case.run([*inputs[:i], moved, *inputs[i + 1 :]])
        gradient[place] = (dy * y).sum().imag / h
    return gradient
