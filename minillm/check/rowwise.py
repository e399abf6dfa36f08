"""Targets of the layers that compute each position by itself."""

from __future__ import annotations

import numpy as np

from autograd import Op
from autograd.backends import Array
from autograd.gradcheck.laws import batch_permutation, micro_batches, orthogonal, sums_to_zero
from autograd.ops import softmax
from minillm.check.target import (
    D_MODEL,
    DROPOUT,
    VOCAB_SIZE,
    MakeTarget,
    Target,
    anywhere,
    batch_and_time,
    n_targets,
)
from minillm.layers import Dropout, FeedForward
from minillm.layers.cross_entropy import IGNORE_INDEX, cross_entropy
from minillm.layers.embedding import embedding
from minillm.layers.feed_forward_half import feed_forward_half
from minillm.layers.head_loss import head_loss
from minillm.layers.layernorm import layernorm
from minillm.layers.linear import linear


def linear_target(rng: np.random.Generator) -> Target:
    B, T = batch_and_time(rng)
    inputs = [rng.standard_normal(shape) for shape in ((B, T, 4), (3, 4), (3,))]
    return Target(linear, inputs, laws=[batch_permutation("x"), micro_batches("x")])


def embedding_target(rng: np.random.Generator) -> Target:
    ids = rng.integers(3, size=batch_and_time(rng))  # they repeat, and rows 3 and 4 of the table are never used
    laws = [batch_permutation("ids"), micro_batches("ids")]
    return Target(embedding, [ids, rng.standard_normal((5, 4))], laws=laws)


def layernorm_target(rng: np.random.Generator) -> Target:
    laws = [sums_to_zero("x"), batch_permutation("x"), micro_batches("x")]
    return Target(layernorm, _layernorm_inputs(rng), laws=laws)


def layernorm_eps_0_target(rng: np.random.Generator) -> Target:
    """eps breaks the second law: with it, a larger x has a slightly larger xhat."""
    laws = [sums_to_zero("x"), orthogonal("x", "xhat", lambda values: _centred(values["x"]))]
    return Target(layernorm, _layernorm_inputs(rng), {"eps": 0.0}, laws=laws)


def _layernorm_inputs(rng: np.random.Generator) -> list[Array]:
    B, T = batch_and_time(rng)
    return [rng.standard_normal(shape) for shape in ((B, T, D_MODEL), (D_MODEL,), (D_MODEL,))]


def _centred(x: Array) -> Array:
    """x less its mean, a multiple of xhat in each row."""
    centred: Array = x - x.mean(-1, keepdims=True)
    return centred


def activation_target(activation: Op) -> MakeTarget:
    def make(rng: np.random.Generator) -> Target:
        x = rng.standard_normal((*batch_and_time(rng), 3))
        x[0, 0, 0] = 0  # relu has a kink here
        return Target(activation, [x], laws=[batch_permutation("x")])

    return make


def softmax_target(rng: np.random.Generator) -> Target:
    x = rng.standard_normal((*batch_and_time(rng), 4))
    return Target(softmax, [x], laws=[sums_to_zero("x"), batch_permutation("x")])


def dropout_target(rng: np.random.Generator) -> Target:
    return Target(Dropout(DROPOUT), [rng.standard_normal((*batch_and_time(rng), 4))])


def feed_forward_target(rng: np.random.Generator) -> Target:
    layer = FeedForward(4, 6, activation="gelu", bias=True, proj_std=0.5, rng=rng, dtype="float64")
    x = rng.standard_normal((*batch_and_time(rng), 4))
    return Target(anywhere(layer, rng), [x], laws=[batch_permutation("x"), micro_batches("x")])


def feed_forward_half_target(rng: np.random.Generator) -> Target:
    shapes = ((*batch_and_time(rng), 4), (4,), (4,), (6, 4), (6,), (4, 6), (4,))
    laws = [batch_permutation("x"), micro_batches("x")]
    return Target(feed_forward_half, [rng.standard_normal(shape) for shape in shapes], laws=laws)


def cross_entropy_target(rng: np.random.Generator) -> Target:
    targets = _targets(rng)
    laws = [
        sums_to_zero("logits"),
        batch_permutation("logits", "targets"),
        micro_batches("logits", "targets", count=n_targets),
    ]
    return Target(cross_entropy, [rng.standard_normal((*targets.shape, VOCAB_SIZE)), targets], laws=laws)


def head_loss_target(rng: np.random.Generator) -> Target:
    targets = _targets(rng)
    shapes = ((*targets.shape, D_MODEL), (D_MODEL,), (D_MODEL,), (VOCAB_SIZE, D_MODEL))
    laws = [sums_to_zero("x"), batch_permutation("x", "targets"), micro_batches("x", "targets", count=n_targets)]
    return Target(head_loss, [*(rng.standard_normal(shape) for shape in shapes), targets], laws=laws)


def _targets(rng: np.random.Generator) -> Array:
    """Ids (B, T), the last of the first row ignored."""
    targets = rng.integers(VOCAB_SIZE, size=batch_and_time(rng))
    targets[0, -1] = IGNORE_INDEX
    return targets
