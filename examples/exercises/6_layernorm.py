"""Exercise 6: layer normalisation. Write `layernorm_backward`.

mean = E[x]          rstd = 1/sqrt(E[(x-mean)^2] + eps)          E is the mean over the last axis
xhat = (x-mean)*rstd          y = xhat*weight + bias
"""

import numpy as np

from autograd.gradcheck.laws import sums_to_zero


def layernorm_forward(x, weight, bias, *, eps):
    """x (B, T, C), weight (C,), bias (C,) -> y (B, T, C), and what the backward is handed."""
    mean = x.mean(-1, keepdims=True)  # (B, T, 1)
    xc = x - mean  # (B, T, C)
    rstd = 1 / np.sqrt((xc * xc).mean(-1, keepdims=True) + eps)  # (B, T, 1)
    xhat = xc * rstd  # (B, T, C)
    return xhat * weight + bias, (xhat, rstd, weight)


def layernorm_backward(dy, xhat, rstd, weight):
    """dy (B, T, C) -> dx (B, T, C), dweight (C,), dbias (C,).

    Hints:
      - first dbias, dweight, and dxhat: y = xhat*weight + bias is the scale of exercise 1.
      - then dx from dxhat. Each x acts in three ways: by itself, through the mean and through rstd:
        dx = rstd * (dxhat - (what comes through the mean) - (what comes through rstd))
      - the last two are means over the row, of dxhat and of dxhat*xhat. The second is times xhat.
      - the law below is a test in the head: add c to all x of a row and y stays, so the dx of a row add up to zero.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    return [rng.standard_normal((2, 3, 6)), rng.standard_normal(6), rng.standard_normal(6)], {"eps": 1e-5}


LAWS = [sums_to_zero("x")]
