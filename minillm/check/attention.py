"""Targets of attention: the op with each kind of mask, and the layer."""

from __future__ import annotations

import numpy as np

from autograd.gradcheck.laws import (
    batch_permutation,
    causal,
    masked_rows,
    micro_batches,
    padding,
    separate_documents,
)
from minillm.check.target import D_MODEL, DROPOUT, N_HEAD, Target, anywhere, batch_and_time, no_k_bias, packed
from minillm.layers.attention import CausalSelfAttention, attention
from minillm.layers.attention_half import attention_half


def attention_target(rng: np.random.Generator) -> Target:
    qkv = rng.standard_normal((*batch_and_time(rng), 3 * D_MODEL))
    laws = [causal("qkv"), no_k_bias("qkv", axis=(0, 1)), batch_permutation("qkv"), micro_batches("qkv")]
    return Target(attention, [qkv], {"n_head": N_HEAD}, laws=laws)


def attention_padded_target(rng: np.random.Generator) -> Target:
    """Padding on the left: the first queries of a row see no key at all."""
    B, T = batch_and_time(rng)
    mask = np.arange(T) >= rng.integers(1, T, (B, 1))  # (B, T)
    laws = [
        padding("qkv"),
        masked_rows(lambda values: ~values["mask"]),
        separate_documents("qkv"),
        causal("qkv"),
        no_k_bias("qkv", axis=(0, 1)),
        batch_permutation("qkv", "mask"),
    ]
    return Target(attention, [rng.standard_normal((B, T, 3 * D_MODEL)), mask], {"n_head": N_HEAD}, laws=laws)


def attention_packed_target(rng: np.random.Generator) -> Target:
    B, T = batch_and_time(rng)
    laws = [separate_documents("qkv"), causal("qkv"), batch_permutation("qkv", "mask"), micro_batches("qkv", "mask")]
    inputs = [rng.standard_normal((B, T, 3 * D_MODEL)), packed(rng, B, T)]
    return Target(attention, inputs, {"n_head": N_HEAD}, laws=laws)


def attention_dropout_target(rng: np.random.Generator) -> Target:
    qkv = rng.standard_normal((*batch_and_time(rng), 3 * D_MODEL))
    attributes = {"n_head": N_HEAD, "dropout": DROPOUT, "dropout_key": (int(rng.integers(1000)), 0)}
    return Target(attention, [qkv], attributes, laws=[causal("qkv"), no_k_bias("qkv", axis=(0, 1))])


def attention_half_target(rng: np.random.Generator) -> Target:
    C = D_MODEL
    shapes = ((*batch_and_time(rng), C), (C,), (C,), (3 * C, C), (3 * C,), (C, C), (C,))
    laws = [causal("x"), no_k_bias("qkv_bias", axis=()), batch_permutation("x"), micro_batches("x")]
    return Target(attention_half, [rng.standard_normal(shape) for shape in shapes], {"n_head": N_HEAD}, laws=laws)


def causal_self_attention_target(rng: np.random.Generator) -> Target:
    B, T = batch_and_time(rng)
    layer = CausalSelfAttention(D_MODEL, N_HEAD, bias=True, dropout=0.0, proj_std=0.5, rng=rng, dtype="float64")
    laws = [
        causal("x"),
        no_k_bias("qkv.bias", axis=()),
        separate_documents("x"),
        batch_permutation("x", "mask"),
        micro_batches("x", "mask"),
    ]
    return Target(anywhere(layer, rng), [rng.standard_normal((B, T, D_MODEL)), packed(rng, B, T)], laws=laws)
