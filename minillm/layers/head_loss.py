"""The end of a language model as one op: final LayerNorm, logits, and their cross-entropy with the targets.

  y = layernorm(x)    logits = y @ weight^T    loss = cross_entropy(logits, targets)
  shift = max logits    total = sum e^(logits - shift)    probs = e^(logits - shift) / total
  loss = sum_i share_i * -ln probs_i[target_i]    dlogits_i = dloss * share_i * (probs_i - onehot(target_i))

Training wants the loss alone. For 50,000 ids the logits are the largest array there is, so backward computes them
again: a tenth of the time at GPT-2's size. The twins have a few columns of them at a time. Where no twin runs, the
three ops do.
"""

from __future__ import annotations

import numpy as np

from autograd import Op, Tensor, workspace
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.backward_pass import gradient_out
from autograd.jit import Ids1, In1, In2, Int, Out1, Out2, Out3, gemm, jit, prange, share
from autograd.jit_math import exp, largest
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

Saved = tuple[Array, Array, Array, Array, Array | None, Array, Array, Array, Array, Array, Array]
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
    total = np.exp(logits - shift[:, None]).sum(-1)  # (N,)
    nll = np.log(total) - (logits[np.arange(len(t), like=t), t] - shift)  # (N,)
    return (nll * shares).sum(), (x, mean, rstd, norm_weight, norm_bias, y, weight, shift, total, t, shares)


def head_loss_backward(
    dloss: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    norm_weight: Array,
    norm_bias: Array | None,
    y: Array,
    weight: Array,
    shift: Array,
    total: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    rows = y.reshape(-1, y.shape[-1])  # (N, C)
    logits, _ = linear_forward(rows, weight)  # (N, V)
    probs = np.exp(logits - shift[:, None]) / total[:, None]  # (N, V)
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
    y = layernorm(x, norm_weight, norm_bias, eps=eps)  # (..., C)
    logits = linear(y, weight)  # (..., V)
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
    shift, total, nll = (workspace.empty((N,)) for _ in range(3))
    shifts, totals = workspace.empty((n, N)), workspace.empty((n, N))  # of each thread's columns
    assert y.size == N * C  # kernels do not look where they read and write
    ids = t.astype(np.int64, copy=False)
    _sum_exp(y.reshape(N, C), weight, ids, _tiles(N, V, n), shifts, totals, nll, n)
    shifts.max(0, out=shift)
    shifts -= shift
    totals *= np.exp(shifts, out=shifts)
    totals.sum(0, out=total)
    nll -= shift
    np.subtract(np.log(total, out=shifts[0]), nll, out=nll)
    nll *= shares
    return nll.sum(), (x, mean, rstd, norm_weight, norm_bias, y, weight, shift, total, t, shares)


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
    shift: Array,
    total: Array,
    targets: Array,
    shares: Array,
) -> Gradients:
    (V, C), N, n = weight.shape, len(targets), threads()
    dweight, beta = gradient_out(weight)  # (V, C)
    dys = workspace.empty((n, N, C))  # of each thread's columns
    t, scale = targets.astype(np.int64, copy=False), np.multiply(dloss, shares, out=workspace.empty((N,)))
    assert (y.size, shift.size, total.size, shares.size) == (N * C, N, N, N)
    _backward(y.reshape(N, C), weight, shift, total, t, scale, beta, dweight, dys, _tiles(N, V, n), n)
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
def _sum_exp(
    y: In2,
    weight: In2,
    targets: Ids1,
    tiles: Out3,
    shifts: Out2,
    totals: Out2,
    target_logits: Out1,
    n_threads: Int,
) -> None:
    """Each thread takes a share of the vocabulary: with 50,000 rows of weight, reading them twice costs most."""
    for t in prange(n_threads):
        first, last = share(t, n_threads, weight.shape[0])
        shifts[t], totals[t] = np.float32(-np.inf), np.float32(0)
        for start in range(first, last, tiles.shape[2]):
            stop = min(start + tiles.shape[2], last)
            logits = tiles[t, :, : stop - start]  # (N, columns)
            gemm(1, y, False, weight[start:stop], True, 0, logits)
            for i in range(y.shape[0]):
                if start <= targets[i] < stop:
                    target_logits[i] = logits[i, targets[i] - start]
                shift, before = largest(logits[i]), shifts[t, i]
                if before > shift:
                    shifts[t, i], totals[t, i] = before, totals[t, i] + _sum_exp_row(logits[i], before)
                else:  # also where shift is NaN
                    scale = np.float32(0) if start == first else np.exp(before - shift)
                    shifts[t, i], totals[t, i] = shift, totals[t, i] * scale + _sum_exp_row(logits[i], shift)


@jit(inline=True)
def _sum_exp_row(x, shift):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    total = np.float32(0)
    for j in range(x.shape[0]):
        total += exp(x[j] - shift)
    return total


@jit(parallel=True)
def _backward(
    y: In2,
    weight: In2,
    shift: In1,
    total: In1,
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
                _scaled_exp(dlogits[i], shift[i], scale[i] / total[i])
                if start <= targets[i] < stop:
                    dlogits[i, targets[i] - start] -= scale[i]
            gemm(1, dlogits, True, y, False, beta, dweight[start:stop])
            gemm(1, dlogits, False, weight[start:stop], False, 1, dys[t])


@jit(inline=True)
def _scaled_exp(x, shift, scale):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """x becomes scale * e^(x - shift)."""
    for j in range(x.shape[0]):
        x[j] = scale * exp(x[j] - shift)
