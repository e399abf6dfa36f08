"""The end of a language model as one op: final LayerNorm, logits, and their cross-entropy with the targets.

  y = layernorm(x)    logits = y @ weight^T    loss = cross_entropy(logits, targets)
                      lse = ln sum e^logits    loss = sum_i share_i * (lse_i - logits_i[target_i])
  dlogits_i = dloss * share_i * (e^(logits_i - lse_i) - onehot(target_i))

Training wants the loss alone. For 50,000 ids the logits are the largest array there is, so backward computes them
again: a tenth of the time at GPT-2's size. The twins have a few columns of them at a time. Where no twin runs, the
three ops do.
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import Ids1, In1, In2, Int, Out1, Out2, Out3, gemm, jit, prange, share
from autograd.jit_math import exp, softmax_row
from autograd.tensor import gradient_out
from minillm.layers.cross_entropy import (
    IGNORE_INDEX,
    cross_entropy,
    cross_entropy_backward,
    fill_shares,
    target_shares,
)
from minillm.layers.layernorm import layernorm, layernorm_backward, layernorm_forward
from minillm.layers.linear import linear, linear_backward, linear_forward

TILE = 512  # columns of logits that are there at a time, on each thread: they stay in its cache

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
    logits, _ = linear_forward(y.reshape(-1, y.shape[-1]), weight)  # (N, V)
    t, shares = target_shares(targets, weights, ignore_index, logits.real.dtype)  # (N,), (N,)
    shift = logits.real.max(-1)  # (N,)
    lse = shift + np.log(np.exp(logits - shift[:, None]).sum(-1))  # (N,)
    nll = lse - logits[np.arange(len(t), like=t), t]  # (N,)
    return (nll * shares).sum(), (x, mean, rstd, norm_weight, norm_bias, y, weight, lse, t, shares)


def head_loss_backward(
    dloss: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    y: Array,
    weight: Array,
    lse: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    rows = y.reshape(-1, y.shape[-1])  # (N, C)
    logits, _ = linear_forward(rows, weight)  # (N, V)
    probs = np.exp(logits - lse[:, None])  # (N, V)
    dlogits, _, _ = cross_entropy_backward(dloss, probs, targets, shares)  # (N, V)
    dy, dweight, _ = linear_backward(dlogits, rows, weight, None)  # (N, C), (V, C)
    dx, dnorm_weight, dnorm_bias = layernorm_backward(dy.reshape(x.shape), x, mean, rstd, norm_weight, norm_bias)
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
    (V, C), N, n = weight.shape, targets.size, threads()
    t, shares = workspace.empty((N,), targets.dtype), workspace.empty((N,))
    fill_shares(targets, weights, ignore_index, V, t, shares)
    lses, lse, nll = workspace.empty((n, N)), workspace.empty((N,)), workspace.empty((N,))
    assert y.size == N * C  # kernels do not look where they read and write
    _log_sum_exp(y.reshape(N, C), weight, t.astype(np.int64, copy=False), _tiles(N, V, n), lses, nll, n)
    np.logaddexp.reduce(lses, axis=0, out=lse)
    np.subtract(lse, nll, out=nll)
    nll *= shares
    return nll.sum(), (x, mean, rstd, norm_weight, norm_bias, y, weight, lse, t, shares)


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
    lse: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    (V, C), N, n = weight.shape, len(targets), threads()
    dweight, beta = gradient_out(weight)  # (V, C)
    dys = workspace.empty((n, N, C))  # of each thread's columns
    t, scale = targets.astype(np.int64, copy=False), np.multiply(dloss, shares, out=workspace.empty((N,)))
    assert (y.size, lse.size, shares.size) == (N * C, N, N)
    _backward(y.reshape(N, C), weight, lse, t, scale, beta, dweight, dys, _tiles(N, V, n), n)
    dy = dys[0]  # (N, C)
    for part in dys[1:]:
        dy += part
    dx, dnorm_weight, dnorm_bias = layernorm.backward.on("numba")(
        dy.reshape(x.shape), x, mean, rstd, norm_weight, norm_bias
    )
    return dx, dnorm_weight, dnorm_bias, dweight, None, None


def _tiles(N: int, V: int, n_threads: int) -> Array:
    """For each thread a tile of logits."""
    return workspace.empty((n_threads, N, min(TILE, -(-V // n_threads))))


@jit(parallel=True)
def _log_sum_exp(
    y: In2, weight: In2, targets: Ids1, tiles: Out3, lses: Out2, target_logits: Out1, n_threads: Int
) -> None:
    """Each thread takes a share of the vocabulary: with 50,000 rows of weight, reading them twice costs most."""
    for t in prange(n_threads):
        first, last = share(t, n_threads, weight.shape[0])
        lses[t] = np.float32(-np.inf)
        for start in range(first, last, tiles.shape[2]):
            stop = min(start + tiles.shape[2], last)
            logits = tiles[t, :, : stop - start]  # (N, columns)
            gemm(1, y, False, weight[start:stop], True, 0, logits)
            for i in range(y.shape[0]):
                if start <= targets[i] < stop:
                    target_logits[i] = logits[i, targets[i] - start]
                shift, log_total = softmax_row(logits[i])
                lses[t, i] = _log_add_exp(lses[t, i], shift + log_total)


@jit(inline=True)
def _log_add_exp(a, b):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """ln(e^a + e^b); b where a is -infinity, NaN where one of them is."""
    if a == -np.inf:
        return b
    larger, smaller = (a, b) if a > b else (b, a)
    return larger + np.log(np.float32(1) + np.exp(smaller - larger))


@jit(parallel=True)
def _backward(
    y: In2,
    weight: In2,
    lse: In1,
    targets: Ids1,
    scale: In1,
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
            gemm(1, y, False, weight[start:stop], True, 0, dlogits)
            for i in range(y.shape[0]):
                _dlogits_row(dlogits[i], lse[i], scale[i])
                if start <= targets[i] < stop:
                    dlogits[i, targets[i] - start] -= scale[i]
            gemm(1, dlogits, True, y, False, beta, dweight[start:stop])
            gemm(1, dlogits, False, weight[start:stop], False, 1, dys[t])


@jit(inline=True)
def _dlogits_row(x, lse, scale):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """x becomes scale * e^(x - lse)."""
    for j in range(x.shape[0]):
        x[j] = scale * exp(x[j] - lse)
