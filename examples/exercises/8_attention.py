"""Exercise 8: causal self-attention, for several heads. Write `attention_backward`.

scores = q @ k^T / sqrt(D), minus infinity for keys after the query
probs = softmax(scores)          each row sums to 1
y = probs @ v
"""

import numpy as np

from autograd.gradcheck.laws import causal, vanishes


def attention_forward(q, k, v):
    """q, k, v (H, T, D), one matrix for each head -> y (H, T, D), and what the backward is handed."""
    T, D = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / D**0.5  # (H, T, T): how well query t (axis 1) fits key s (axis 2)
    scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)  # (H, T, T)
    e = np.exp(scores - scores.max(-1, keepdims=True))  # (H, T, T)
    probs = e / e.sum(-1, keepdims=True)  # (H, T, T): exactly 0 after the query
    return probs @ v, (q, k, v, probs)


def attention_backward(dy, q, k, v, probs):
    """dy (H, T, D) -> dq, dk, dv, each (H, T, D).

    Hints:
      - y = probs @ v is a matrix product: dprobs and dv as in exercise 2. Of stacked matrices the transpose is
        a.swapaxes(-1, -2); a.T would turn the heads around too.
      - softmax, one row: dscores = probs * (dprobs - sum(dprobs * probs)). Why does a row of dscores add up to zero?
      - a masked key has probs = 0, so its dscores is 0 by itself: no second mask is needed.
      - scores = q @ k^T / sqrt(D): dq is plain. For dk mind which way round dscores goes: a public GPT in NumPy
        has it wrong, trains all the same, and passes its own tests.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    return list(rng.standard_normal((3, 2, 5, 3))), {}


# no position sees a later one; and the same vector added to all keys changes no softmax, so dk adds up to zero
LAWS = [
    causal("q", "k", "v", axis=1),
    vanishes("dk sums to zero over the keys", lambda gradients, _: gradients["k"], 1, "dscores or dk is wrong", ("k",)),
]
