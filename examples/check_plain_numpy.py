"""Gradients of plain NumPy functions, checked: nothing here but the call of gradcheck knows of this project.

`python examples/check_plain_numpy.py`. A classifier of two layers, and attention, each with its gradient by hand.
"""

import numpy as np

from autograd.gradcheck import gradcheck
from autograd.gradcheck.laws import causal


def softmax(z):
    e = np.exp(z - z.real.max(-1, keepdims=True))  # `.real`: the shift cancels, and complex numbers have no order
    return e / e.sum(-1, keepdims=True)


def classifier_forward(x, w1, b1, w2, targets):
    """x (N, C), w1 (C, H), b1 (H,), w2 (H, V), targets (N,) of integers -> mean cross-entropy (), and what is saved."""
    h = np.tanh(x @ w1 + b1)  # (N, H)
    probs = softmax(h @ w2)  # (N, V)
    loss = -np.log(probs[np.arange(len(x)), targets]).mean()
    return loss, (x, w1, h, w2, probs, targets)


def classifier_backward(dloss, x, w1, h, w2, probs, targets):
    """One gradient for each input, in the forward's order; None for the integers."""
    onehot = np.eye(w2.shape[1], dtype=x.dtype)[targets]  # (N, V)
    dlogits = dloss / len(x) * (probs - onehot)  # (N, V)
    dpre = dlogits @ w2.T * (1 - h * h)  # (N, H), before tanh
    return dpre @ w1.T, x.T @ dpre, dpre.sum(0), h.T @ dlogits, None


def attention_forward(q, k, v):
    """q, k, v (T, D) -> y (T, D); position t sees positions up to t."""
    scores = np.where(np.tri(len(q), dtype=bool), q @ k.T / q.shape[1] ** 0.5, -np.inf)  # (T, T)
    probs = softmax(scores)  # (T, T)
    return probs @ v, (q, k, v, probs)


def attention_backward(dy, q, k, v, probs):
    dprobs = dy @ v.T  # (T, T)
    dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True)) / q.shape[1] ** 0.5  # (T, T)
    return dscores @ k, dscores.T @ q, probs.T @ dy


def main():
    rng = np.random.default_rng(0)
    x, w1, b1, w2 = (rng.standard_normal(shape) for shape in ((4, 3), (3, 5), (5,), (5, 2)))
    print(gradcheck((classifier_forward, classifier_backward), [x, w1, b1, w2, np.array([0, 1, 1, 0])]))

    q, k, v = rng.standard_normal((3, 4, 2))
    no_later_position = causal("q", "k", "v", axis=0)
    print(gradcheck((attention_forward, attention_backward), [q, k, v], laws=[no_later_position], dtype="float32"))


if __name__ == "__main__":
    main()
