"""Softmax cross-entropy: the mean negative log-likelihood of the targets, in nats.

  p = softmax(logits)      loss = sum_i w_i * -ln p_i[target_i] / sum_i w_i
  dlogits_i = dloss * w_i / sum w * (p_i - onehot(target_i))

w_i is the weight of token i, 1 unless given, and 0 where its target is the ignore index. Where all weights are zero,
so are loss and gradient.
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
from autograd.ops import where

IGNORE_INDEX = -1  # the target of a position that does not count, such as padding


def cross_entropy_forward(
    logits: Array, targets: Array, weights: Array | None = None, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Array, tuple[Array, Array, Array]]:
    """logits (..., V), targets (...) of integers in [0, V) or ignore_index, weights (...) or None -> loss ()."""
    V = logits.shape[-1]
    x, t = logits.reshape(-1, V), targets.reshape(-1)  # (N, V), (N,)
    counted = t != ignore_index  # (N,)
    w = counted.astype(logits.real.dtype)  # (N,)
    if weights is not None:
        w = w * weights.reshape(-1)
    t = np.where(counted, t, 0)  # (N,)
    rows = np.arange(len(t), like=t)  # (N,)
    shifted = x - x.real.max(-1, keepdims=True)  # (N, V)
    e = np.exp(shifted)  # (N, V)
    total = e.sum(-1, keepdims=True)  # (N, 1)
    nll = np.log(total[:, 0]) - shifted[rows, t]  # (N,)
    weight_sum = w.sum()
    share = w / np.where(weight_sum == 0, 1, weight_sum)  # (N,), adds up to 1
    loss = (nll * share).sum()
    return loss, ((e / total).reshape(logits.shape), t, share)


def cross_entropy_backward(dloss: Array, probs: Array, targets: Array, share: Array) -> tuple[Array, None, None]:
    dlogits = probs * (dloss * share).reshape(*probs.shape[:-1], 1)  # (..., V)
    flat = dlogits.reshape(-1, probs.shape[-1])  # (N, V), a view
    flat[np.arange(len(targets), like=targets), targets] -= dloss * share
    return dlogits, None, None


cross_entropy = Op(cross_entropy_forward, cross_entropy_backward)


@cross_entropy.composition
def cross_entropy_composed(
    logits: Tensor, targets: Array, weights: Tensor | None = None, *, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    V = logits.shape[-1]
    counted = targets != ignore_index  # (...)
    w = counted.astype(logits.data.real.dtype)  # (...)
    if weights is not None:
        w = w * weights.data  # constants: the op has no gradient for them
    onehot = counted[..., None] & (targets[..., None] == np.arange(V, like=targets))  # (..., V)
    x: Tensor = logits - logits.data.real.max(-1, keepdims=True)  # (..., V), softmax's shift: a constant
    nll = x.exp().sum(-1).log() - where(onehot, x, 0).sum(-1)  # (...)
    total = w.sum()
    mean: Tensor = (nll * w).sum() / np.where(total == 0, 1, total)
    return mean
