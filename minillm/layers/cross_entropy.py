"""Softmax cross-entropy: the mean negative log-likelihood of the targets, in nats.

  p = softmax(logits)      loss = sum_i w_i * -ln p_i[target_i] / sum_i w_i
  dlogits_i = dloss * w_i / sum w * (p_i - onehot(target_i))

w_i is the weight of token i, 1 unless given, and 0 where its target is the ignore index. Where all weights are zero,
so are loss and gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Ids1, In1, In2, Int, Out1, Out2, jit, prange, share
from autograd.jit_math import softmax_row
from autograd.ops import where

IGNORE_INDEX = -1  # the target of a position that does not count, such as padding


def cross_entropy_forward(
    logits: Array, targets: Array, weights: Array | None = None, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Array, tuple[Array, Array, Array]]:
    """logits (..., V), targets (...) of integers in [0, V) or ignore_index, weights (...) or None -> loss ()."""
    V = logits.shape[-1]
    x = logits.reshape(-1, V)  # (N, V)
    t, shares = target_shares(targets, weights, ignore_index, logits.real.dtype)  # (N,), (N,)
    rows = np.arange(len(t), like=t)  # (N,)
    shifted = x - x.real.max(-1, keepdims=True)  # (N, V)
    e = np.exp(shifted)  # (N, V)
    total = e.sum(-1, keepdims=True)  # (N, 1)
    nll = np.log(total[:, 0]) - shifted[rows, t]  # (N,)
    loss = (nll * shares).sum()
    return loss, ((e / total).reshape(logits.shape), t, shares)


def target_shares(targets: Array, weights: Array | None, ignore_index: int, dtype: Any) -> tuple[Array, Array]:
    """Per token: its target, 0 where it is ignored, and its share in the mean; both (N,), shares add up to 1."""
    t = targets.reshape(-1)  # (N,)
    counted = t != ignore_index  # (N,)
    w = counted.astype(dtype)  # (N,)
    if weights is not None:
        w = w * weights.reshape(-1)
    weight_sum = w.sum()
    shares = w / np.where(weight_sum == 0, 1, weight_sum)  # (N,)
    return np.where(counted, t, 0), shares


def cross_entropy_backward(dloss: Array, probs: Array, targets: Array, shares: Array) -> tuple[Array, None, None]:
    dlogits = probs * (dloss * shares).reshape(*probs.shape[:-1], 1)  # (..., V)
    flat = dlogits.reshape(-1, probs.shape[-1])  # (N, V), a view
    flat[np.arange(len(targets), like=targets), targets] -= dloss * shares
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
    t = np.where(counted, targets, 0)  # (...)
    onehot = t[..., None] == np.arange(V, like=targets)  # (..., V)
    shifted: Tensor = logits - logits.data.real.max(-1, keepdims=True)  # (..., V), softmax's shift: a constant
    e = shifted.exp()  # (..., V)
    total = e.sum(-1)  # (...)
    nll = total.log() - where(onehot, shifted, 0).sum(-1)  # (...)
    weight_sum = w.sum()
    loss: Tensor = (nll * w).sum() / np.where(weight_sum == 0, 1, weight_sum)
    return loss


@cross_entropy.fast("numba")
def cross_entropy_forward_numba(
    logits: Array, targets: Array, weights: Array | None = None, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Array, tuple[Array, Array, Array]]:
    V, N = logits.shape[-1], targets.size
    probs, nll = workspace.empty(logits.shape), workspace.empty((N,))
    probs[...] = logits
    t, shares = workspace.empty((N,), targets.dtype), workspace.empty((N,))
    fill_shares(targets, weights, ignore_index, V, t, shares)
    assert logits.size == N * V  # kernels do not look where they read and write
    _softmax_nll(probs.reshape(N, V), t.astype(np.int64, copy=False), nll, threads())
    nll *= shares
    return nll.sum(), (probs, t, shares)


def fill_shares(targets: Array, weights: Array | None, ignore_index: int, n_ids: int, t: Array, shares: Array) -> None:
    """What `target_shares` returns, written to t and shares. Raises IndexError for a target outside the ids."""
    counted = targets.reshape(-1) != ignore_index  # (N,)
    t[...] = targets.reshape(-1)
    np.copyto(t, 0, where=~counted)
    shares[...] = counted
    if weights is not None:
        shares *= weights.reshape(-1)
    weight_sum = shares.sum()
    shares /= weight_sum or 1
    if t.size and not 0 <= t.min() <= t.max() < n_ids:
        raise IndexError(
            f"a target is not in 0 to {n_ids - 1}, the ids that have logits: "
            f"give such ids, or {ignore_index} for no target"
        )


@cross_entropy.fast("numba")
def cross_entropy_backward_numba(dloss: Array, probs: Array, targets: Array, shares: Array) -> tuple[Array, None, None]:
    V, N = probs.shape[-1], targets.size
    assert (probs.size, shares.size) == (N * V, N)
    dlogits, scale = workspace.empty(probs.shape), workspace.empty((N,))
    np.multiply(shares, dloss, out=scale)
    _dlogits(probs.reshape(-1, V), targets.astype(np.int64, copy=False), scale, dlogits.reshape(-1, V), threads())
    return dlogits, None, None


@jit(inline=True)
def _softmax_nll_row(x, target):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """x = softmax(x), (V,); returns -ln of the target's."""
    logit = x[target]
    shift, log_total = softmax_row(x)
    return log_total - (logit - shift)


@jit(inline=True)
def _scaled_row(x, scale, y):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """y = scale * x."""
    for j in range(x.shape[0]):
        y[j] = scale * x[j]


@jit(parallel=True)
def _softmax_nll(x: Out2, targets: Ids1, nll: Out1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[0])
        for i in range(first, last):
            nll[i] = _softmax_nll_row(x[i], targets[i])


@jit(parallel=True)
def _dlogits(probs: In2, targets: Ids1, scale: In1, dlogits: Out2, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, probs.shape[0])
        for i in range(first, last):
            _scaled_row(probs[i], scale[i], dlogits[i])
            dlogits[i, targets[i]] -= scale[i]
