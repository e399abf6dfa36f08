"""Exercise 5: softmax and cross-entropy, the loss of every language model. Write `cross_entropy_backward`.

probs = softmax(logits)          each row sums to 1
loss = mean over n of -ln probs[n, targets[n]]
"""

import numpy as np

from autograd.gradcheck.laws import sums_to_zero


def cross_entropy_forward(logits, targets):
    """logits (N, V), targets (N,) of integers in [0, V) -> loss (), and what the backward is handed."""
    e = np.exp(logits - logits.max(-1, keepdims=True))  # (N, V): less the largest, or large logits overflow
    probs = e / e.sum(-1, keepdims=True)  # (N, V)
    rows = np.arange(len(targets))  # (N,)
    return -np.log(probs[rows, targets]).mean(), (probs, targets)


def cross_entropy_backward(dloss, probs, targets):
    """dloss () -> dlogits (N, V), and None, since integers have no gradient.

    Hints:
      - with pencil and paper for one row: -ln probs[t] = -logits[t] + ln sum_v e^logits[v]. Derive it by logits[v],
        once for v = t and once for another v. Nearly everything cancels, and it is one of the shortest there are.
      - the loss is a mean over N rows, and comes with a dloss that need not be 1.
      - probs is not yours: change a copy, or the next one who reads it reads what you wrote.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    return [2 * rng.standard_normal((4, 6)), rng.integers(6, size=4)], {}


LAWS = [sums_to_zero("logits")]  # adding the same number to all logits of a row changes no probability
