"""The end of a language model as one op: final LayerNorm, logits, and their cross-entropy with the targets.

  y = layernorm(x)    logits = y @ weight^T    loss = cross_entropy(logits, targets)

Training wants the loss alone. Here the logits are one buffer, which turns into probabilities in place, and their
gradient is only ever there for a few columns at a time. Where no twin runs, the three ops do.
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Ids1, In1, In2, Int, Out2, Out3, gemm, jit, prange, share
from autograd.tensor import gradient_out
from minillm.layers.cross_entropy import (
    IGNORE_INDEX,
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_forward,
    loss_in_place,
    scaled_row,
)
from minillm.layers.layernorm import layernorm, layernorm_backward, layernorm_forward
from minillm.layers.linear import linear, linear_backward, linear_forward

TILE = 512  # columns of dlogits that are there at a time, on each thread: they stay in its cache

Saved = tuple[Array, Array, Array, Array, Array | None, Array, Array, Array, Array, Array]
Gradients = tuple[Array, Array, Array | None, Array, None, None]


def head_loss_forward(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    weight: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    eps: float = 1e-5,
    ignore_index: int = IGNORE_INDEX,
) -> tuple[Array, Saved]:
    """x (..., C), norm_weight (C,), norm_bias (C,) or None, weight (V, C), targets and weights (...) -> loss ()."""
    y, (_, mean, rstd, _, _) = layernorm_forward(x, norm_weight, norm_bias, eps=eps)  # (..., C)
    logits, _ = linear_forward(y, weight)  # (..., V)
    loss, (probs, t, shares) = cross_entropy_forward(logits, targets, weights, ignore_index=ignore_index)
    return loss, (x, mean, rstd, norm_weight, norm_bias, y, weight, probs, t, shares)


def head_loss_backward(
    dloss: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    y: Array,
    weight: Array,
    probs: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    dlogits, _, _ = cross_entropy_backward(dloss, probs, targets, shares)  # (..., V)
    dy, dweight, _ = linear_backward(dlogits, y, weight, None)  # (..., C), (V, C)
    dx, dnorm_weight, dnorm_bias = layernorm_backward(dy, x, mean, rstd, norm_weight, norm_bias)
    return dx, dnorm_weight, dnorm_bias, dweight, None, None


head_loss = Op(head_loss_forward, head_loss_backward)


@head_loss.composition
def head_loss_composed(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    weight: Tensor,
    targets: Array,
    weights: Tensor | None = None,
    *,
    eps: float = 1e-5,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    logits = linear(layernorm(x, norm_weight, norm_bias, eps=eps), weight)  # (..., V)
    return cross_entropy(logits, targets, weights, ignore_index=ignore_index)


@head_loss.fast("numba")
def head_loss_forward_numba(
    x: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    weight: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    eps: float = 1e-5,
    ignore_index: int = IGNORE_INDEX,
) -> tuple[Array, Saved]:
    y, (_, mean, rstd, _, _) = layernorm.forward.on("numba")(x, norm_weight, norm_bias, eps=eps)
    (V, C), n = weight.shape, threads()
    logits = workspace.empty((*x.shape[:-1], V))
    _logits(y.reshape(-1, C), weight, logits.reshape(-1, V), n)
    loss, (probs, t, shares) = loss_in_place(logits, targets, weights, ignore_index)
    return loss, (x, mean, rstd, norm_weight, norm_bias, y, weight, probs, t, shares)


@head_loss.fast("numba")
def head_loss_backward_numba(
    dloss: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    y: Array,
    weight: Array,
    probs: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    (V, C), N, n = weight.shape, len(targets), threads()
    dweight, beta = gradient_out(weight)  # (V, C)
    dys = workspace.empty((n, N, C))  # of each thread's columns
    tiles = workspace.empty((n, N, min(TILE, -(-V // n))))
    t = targets.astype(np.int64, copy=False)
    scale = np.multiply(dloss, shares, out=workspace.empty((N,)))
    _backward(probs.reshape(N, V), t, scale, y.reshape(N, C), weight, beta, dweight, dys, tiles, n)
    dy = dys[0]  # (N, C)
    for part in dys[1:]:
        dy += part
    dx, dnorm_weight, dnorm_bias = layernorm.backward.on("numba")(
        dy.reshape(x.shape), x, mean, rstd, norm_weight, norm_bias
    )
    return dx, dnorm_weight, dnorm_bias, dweight, None, None


@jit(parallel=True)
def _logits(y: In2, weight: In2, logits: Out2, n_threads: Int) -> None:
    """Each thread takes a share of the vocabulary: with 50,000 rows of weight, reading them twice costs most."""
    for t in prange(n_threads):
        first, last = share(t, n_threads, weight.shape[0])
        gemm(1, y, False, weight[first:last], True, 0, logits[:, first:last])


@jit(parallel=True)
def _backward(
    probs: In2,
    targets: Ids1,
    scale: In1,
    y: In2,
    weight: In2,
    beta: Int,
    dweight: Out2,
    dys: Out3,
    tiles: Out3,
    n_threads: Int,
) -> None:
    """Each thread takes a share of the vocabulary: rows of dweight of its own, and its part of dy."""
    for t in prange(n_threads):
        first, last = share(t, n_threads, weight.shape[0])
        dys[t] = 0
        for start in range(first, last, tiles.shape[2]):
            stop = min(start + tiles.shape[2], last)
            dlogits = tiles[t, :, : stop - start]  # (N, columns)
            for i in range(probs.shape[0]):
                scaled_row(probs[i, start:stop], scale[i], dlogits[i])
                if start <= targets[i] < stop:
                    dlogits[i, targets[i] - start] -= scale[i]
            gemm(1, dlogits, True, y, False, beta, dweight[start:stop])
            gemm(1, dlogits, False, weight[start:stop], False, 1, dys[t])
