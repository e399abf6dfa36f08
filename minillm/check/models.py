"""Targets of a block and of whole models: each parameter along random directions, or a check would take too long."""

from __future__ import annotations

from typing import Any

import numpy as np

from autograd import Tensor
from autograd.backends import Array
from autograd.gradcheck.laws import (
    Law,
    batch_permutation,
    causal,
    micro_batches,
    padding,
    separate_documents,
    tied,
)
from minillm.check.target import (
    CONTEXT_LENGTH,
    D_MODEL,
    DROPOUT,
    N_HEAD,
    VOCAB_SIZE,
    Target,
    anywhere,
    batch_and_time,
    n_targets,
    no_k_bias,
    packed,
)
from minillm.config import GPTConfig
from minillm.layers.cross_entropy import IGNORE_INDEX
from minillm.model import GPT, Block

DIRECTIONS = 3
N_LAYER = 2
_SMALL: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "context_length": CONTEXT_LENGTH,
    "n_layer": N_LAYER,
    "n_head": N_HEAD,
    "d_model": D_MODEL,
    "d_ff": 2 * D_MODEL,
    "dtype": "float64",
}


def block_target(rng: np.random.Generator) -> Target:
    B, T = batch_and_time(rng)
    inputs = [rng.standard_normal((B, T, D_MODEL)), packed(rng, B, T)]
    laws = [
        causal("x"),
        no_k_bias("attn.qkv.bias", axis=()),
        separate_documents("x"),
        batch_permutation("x", "mask"),
        micro_batches("x", "mask"),
    ]
    return Target(anywhere(Block(_config(), rng), rng), inputs, laws=laws, directions=DIRECTIONS)


def gpt_target(rng: np.random.Generator) -> Target:
    """The loss, with one matrix for embedding and head, and with padding on the right, where no target counts."""
    model, untied = _model(rng), GPT(_config(tie_embeddings=False))
    ids, targets = _tokens(rng)
    mask = np.arange(ids.shape[1]) < rng.integers(1, ids.shape[1] + 1, (len(ids), 1))  # (B, T)

    def loss(ids: Array, targets: Array, mask: Array) -> Tensor | None:
        return model(ids, targets, mask=mask)[1]

    def untied_loss(ids: Array, targets: Array, mask: Array) -> Tensor | None:
        return untied(ids, targets, mask=mask)[1]

    uses = ("token_embedding.weight", "head.weight")
    laws = [
        *_k_biases(),
        padding("ids"),
        separate_documents("ids", "targets", count=n_targets),
        batch_permutation("ids", "targets", "mask"),
        micro_batches("ids", "targets", "mask", count=n_targets),
        tied("token_embedding.weight", untied_loss, dict(untied.named_parameters()), uses),
    ]
    inputs = [ids, np.where(mask, targets, IGNORE_INDEX), mask]
    return Target(loss, inputs, parameters=dict(model.named_parameters()), laws=laws, directions=DIRECTIONS)


def gpt_untied_target(rng: np.random.Generator) -> Target:
    """The loss, with a head of its own."""
    model, (ids, targets) = _model(rng, tie_embeddings=False), _tokens(rng)
    names = ("ids", "targets")
    laws = [*_k_biases(), batch_permutation(*names), micro_batches(*names, count=n_targets)]
    return Target(model, [ids, targets], laws=laws, directions=DIRECTIONS)


def gpt_dropout_target(rng: np.random.Generator) -> Target:
    """The loss while training with dropout. Its masks go by place, so the laws of batches do not hold."""
    model, (ids, targets) = _model(rng, dropout=DROPOUT, n_layer=1), _tokens(rng)
    return Target(model, [ids, targets], laws=_k_biases(n_layer=1), directions=DIRECTIONS)


def gpt_logits_target(rng: np.random.Generator) -> Target:
    """The logits, one position after another."""
    model, (ids, _) = _model(rng), _tokens(rng)
    laws = [causal("ids"), batch_permutation("ids"), micro_batches("ids")]
    return Target(model, [ids], laws=laws, directions=DIRECTIONS)


def _config(**fields: Any) -> GPTConfig:
    return GPTConfig.from_dict({**_SMALL, **fields})


def _model(rng: np.random.Generator, **fields: Any) -> GPT:
    return anywhere(GPT(_config(**fields)), rng)


def _tokens(rng: np.random.Generator) -> tuple[Array, Array]:
    """ids and targets (B, T)."""
    ids, targets = rng.integers(VOCAB_SIZE, size=(2, *batch_and_time(rng)))
    return ids, targets


def _k_biases(n_layer: int = N_LAYER) -> list[Law]:
    return [no_k_bias(f"blocks.{i}.attn.qkv.bias", axis=()) for i in range(n_layer)]
