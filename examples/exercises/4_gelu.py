"""Exercise 4: GELU as GPT-2 has it, the curve between the two linear layers. Write `gelu_backward`.

u = a * (x + b x^3)          a = sqrt(2/pi), b = 0.044715
y = x/2 * (1 + tanh u)
"""

import math

import numpy as np

A, B = math.sqrt(2 / math.pi), 0.044715


def gelu_forward(x):
    """x of any shape -> y of its shape, and what the backward is handed."""
    t = np.tanh(A * (x + B * x**3))
    return x / 2 * (1 + t), (x, t)


def gelu_backward(dy, x, t):
    """dy of x's shape -> (dx,), a tuple also where there is only one.

    Hints:
      - no sums here: each element depends on one element, so dx = dy * dy/dx.
      - y is a product of x/2 and 1 + t, and t depends on x too: the product rule has two terms.
      - dt/dx = (1 - t^2) * du/dx: the tanh is there already, no need to compute it again.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    return [3 * rng.standard_normal((4, 5))], {}
