"""One block of a GPT for one new position of each row, with a key-value cache: what decoding does for each token.

  x = x + proj(attention(qkv(ln1(x))));  x = x + proj(gelu_tanh(fc(ln2(x))))

A token takes as long as reading the weights does, so each is read once, in the order it lies in memory: threads share
the rows of a matrix (out, in). To share its columns would let a thread go on from `qkv` to `proj` with its own heads,
without waiting for others, but is slower: reading parts of rows reached 9 to 18 GB/s where whole rows reached 31.
"""

from __future__ import annotations

import numpy as np

from autograd import Tensor, modes, workspace
from autograd.backends import Array, name_of
from autograd.backends.numba import threads
from autograd.jit import Bool, Float, In1, In2, Int, Out2, Out3, Out4, jit, prange, share
from autograd.jit_math import softmax_row
from autograd.kernel import Kernel
from minillm.layers.activations import gelu_tanh_forward, gelu_tanh_sigmoid
from minillm.layers.attention import attention_cached
from minillm.layers.layernorm import layernorm_forward, layernorm_row
from minillm.layers.linear import FEW_ROWS, dot, linear_few_rows, linear_forward


def block_cached(
    x: Array,
    keys: Array,
    values: Array,
    ln1_weight: Array,
    ln1_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    attn_proj_weight: Array,
    attn_proj_bias: Array | None,
    ln2_weight: Array,
    ln2_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    mlp_proj_weight: Array,
    mlp_proj_bias: Array | None,
    *,
    length: int,
    n_head: int,
    eps: float,
) -> Array:
    """A block whose activation is gelu_tanh, on the position that follows `length` others, without gradients.

    Args:
        x: (B, 1, C).
        keys, values: (B, H, T_max, D), read up to `length`; those of the new position are written behind.
        others: the block's parameters, matrices as (out, in).

    Returns:
        (B, 1, C).
    """
    h, _ = layernorm_forward(x, ln1_weight, ln1_bias, eps=eps)  # (B, 1, C)
    qkv, _ = linear_forward(h, qkv_weight, qkv_bias)  # (B, 1, 3C)
    y = attention_cached(qkv, keys, values, length=length, n_head=n_head)  # (B, 1, C)
    x = x + linear_forward(y, attn_proj_weight, attn_proj_bias)[0]  # (B, 1, C)
    h, _ = layernorm_forward(x, ln2_weight, ln2_bias, eps=eps)  # (B, 1, C)
    wide, _ = gelu_tanh_forward(linear_forward(h, fc_weight, fc_bias)[0])  # (B, 1, F)
    out: Array = x + linear_forward(wide, mlp_proj_weight, mlp_proj_bias)[0]  # (B, 1, C)
    return out


cached_block = Kernel(block_cached)


def one_kernel(ids: Array, weight: Tensor, activation: str) -> bool:
    """Whether blocks run on ids (B, T) as one kernel each, and not as their parts.

    `weight` stands for all parameters: they have one dtype and live in one place.
    """
    B, T = ids.shape
    if T != 1 or B > FEW_ROWS or activation != "gelu_tanh":
        return False
    if modes.observers.get() or modes.composed.get() is not None:  # they are to see each part
        return False
    return cached_block.has_twin(name_of(weight.data), weight.data)


def block_cached_numba(
    x: Array,
    keys: Array,
    values: Array,
    ln1_weight: Array,
    ln1_bias: Array | None,
    qkv_weight: Array,
    qkv_bias: Array | None,
    attn_proj_weight: Array,
    attn_proj_bias: Array | None,
    ln2_weight: Array,
    ln2_bias: Array | None,
    fc_weight: Array,
    fc_bias: Array | None,
    mlp_proj_weight: Array,
    mlp_proj_bias: Array | None,
    *,
    length: int,
    n_head: int,
    eps: float,
) -> Array:
    (B, _, C), F, n = x.shape, len(fc_weight), threads()
    assert keys.shape == values.shape == (B, n_head, keys.shape[2], C // n_head)  # kernels do not look where they write
    assert length < keys.shape[2]
    assert (ln1_weight.shape, qkv_weight.shape, attn_proj_weight.shape) == ((C,), (3 * C, C), (C, C))
    assert (ln2_weight.shape, fc_weight.shape, mlp_proj_weight.shape) == ((C,), (F, C), (C, F))
    if qkv_bias is None:  # a model has all biases or none
        ln1_bias = attn_proj_bias = ln2_bias = mlp_proj_bias = np.zeros(C, x.dtype)
        qkv_bias, fc_bias = np.zeros(3 * C, x.dtype), np.zeros(F, x.dtype)
    normed, qkv, wide = (workspace.empty((B, width)) for width in (C, 3 * C, F))
    scores = workspace.empty((B, n_head, length + 1))
    y = x.copy()  # (B, 1, C)
    stream, cache = y.reshape(B, C), (keys, values, scores)
    attn = (ln1_weight, ln1_bias, qkv_weight, qkv_bias, attn_proj_weight, attn_proj_bias)
    _half(stream, *attn, *cache, n_head, True, normed, qkv, eps, n)
    mlp = (ln2_weight, ln2_bias, fc_weight, fc_bias, mlp_proj_weight, mlp_proj_bias)
    _half(stream, *mlp, *cache, F, False, normed, wide, eps, n)
    return y


cached_block.add("numba", block_cached_numba)


@jit(inline=True)
def add_few_rows(x, weight, bias, y, first, last):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """Columns `first` to `last` of y (N, out) += x (N, in) @ weight^T + bias."""
    for j in range(first, last):
        for i in range(x.shape[0]):
            y[i, j] += dot(weight[j], x[i]) + bias[j]


@jit(inline=True)
def attend_one(q, k, v, keys, values, scores):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """One head's attention: k and v (D,) are put behind the other keys and values (T_max, D), and y (D,) in q's place.

    scores (T,), any numbers: as many positions are looked at, the new one among them.
    """
    T, D = scores.shape[0], q.shape[0]
    scale = np.float32(1) / np.sqrt(np.float32(D))
    new_key, new_value = keys[T - 1], values[T - 1]
    for d in range(D):
        new_key[d], new_value[d] = k[d], v[d]
    for j in range(T):
        scores[j] = dot(keys[j], q) * scale
    softmax_row(scores)
    for d in range(D):
        q[d] = 0
    for j in range(T):
        prob, value = scores[j], values[j]
        for d in range(D):
            q[d] += prob * value[d]


@jit(inline=True)
def attend(qkv, keys, values, scores, first, last):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """Heads `first` to `last` of qkv (B, 3C): y takes the place of the queries."""
    C, D = qkv.shape[1] // 3, keys.shape[3]
    for b in range(qkv.shape[0]):
        row = qkv[b]
        for i in range(first, last):
            q = row[i * D : (i + 1) * D]
            k = row[C + i * D : C + (i + 1) * D]
            v = row[2 * C + i * D : 2 * C + (i + 1) * D]
            attend_one(q, k, v, keys[b, i], values[b, i], scores[b, i])


@jit(inline=True)
def activate(x, first, last):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    """gelu_tanh of columns `first` to `last` of x (B, F), in place."""
    for b in range(x.shape[0]):
        row = x[b][first:last]  # of a row, a slice is contiguous for the compiler too
        for j in range(row.shape[0]):
            row[j] *= gelu_tanh_sigmoid(row[j])


@jit(parallel=True)
def _half(
    x: Out2,
    norm_weight: In1,
    norm_bias: In1,
    weight1: In2,
    bias1: In1,
    weight2: In2,
    bias2: In1,
    keys: Out4,
    values: Out4,
    scores: Out3,
    n_groups: Int,
    attention: Bool,
    normed: Out2,
    wide: Out2,
    eps: Float,
    n_threads: Int,
) -> None:
    """x (B, C) += one half of the block, for attention in groups of a head, for the feed-forward layer of a unit."""
    width = weight2.shape[1]
    for b in range(x.shape[0]):
        layernorm_row(x[b], norm_weight, norm_bias, normed[b], eps)
    for t in prange(n_threads):
        first_group, last_group = share(t, n_threads, n_groups)
        first, last = first_group * width // n_groups, last_group * width // n_groups
        for start in range(0, weight1.shape[0], width):  # queries, keys and values; or once
            linear_few_rows(normed, weight1, bias1, wide, start + first, start + last)
        if attention:
            attend(wide, keys, values, scores, first_group, last_group)
        else:
            activate(wide, first, last)
    for t in prange(n_threads):
        first, last = share(t, n_threads, x.shape[1])
        add_few_rows(wide, weight2, bias2, x, first, last)
