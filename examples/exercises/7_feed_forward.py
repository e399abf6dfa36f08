"""Exercise 7: the feed-forward half of a block, with its residual. Write `feed_forward_backward`.

n = x / sqrt(E[x^2] + eps)                       RMSNorm without a weight; E is the mean over the last axis
y = x + relu(n @ fc^T + fc_bias) @ proj^T
"""

import numpy as np

from autograd.gradcheck.laws import batch_permutation, micro_batches


def feed_forward_forward(x, fc, fc_bias, proj, *, eps):
    """x (N, C), fc (F, C), fc_bias (F,), proj (C, F) -> y (N, C), and what the backward is handed."""
    rrms = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)  # (N, 1)
    n = x * rrms  # (N, C)
    h = n @ fc.T + fc_bias  # (N, F)
    active = np.maximum(h, 0)  # (N, F)
    return x + active @ proj.T, (rrms, n, h, active, fc, proj)


def feed_forward_backward(dy, rrms, n, h, active, fc, proj):
    """dy (N, C) -> dx (N, C), dfc (F, C), dfc_bias (F,), dproj (C, F).

    Hints:
      - go through the forward line by line from the last to the first, and name what you get: dactive, dh, dn, dx.
      - the two products are exercise 2. relu lets a gradient through where it let the number through.
      - RMSNorm is LayerNorm without the mean: of exercise 6, dx keeps two of the three terms.
      - x is used twice, by the norm and by the residual: its gradient is the sum of both. This sum is why deep models
        can be trained: whatever the layer does, dy gets past it.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    shapes = [(3, 4), (6, 4), (6,), (4, 6)]
    return [rng.standard_normal(shape) for shape in shapes], {"eps": 1e-5}


LAWS = [batch_permutation("x"), micro_batches("x")]  # positions do not see each other here: that is attention's work
