"""The table of layers for `minillm check`. To add one: a function that makes its target, and a line here."""

from __future__ import annotations

import numpy as np

from autograd.gradcheck import Report
from minillm.check.attention import (
    attention_dropout_target,
    attention_half_target,
    attention_packed_target,
    attention_padded_target,
    attention_target,
    causal_self_attention_target,
)
from minillm.check.models import (
    block_target,
    gpt_dropout_target,
    gpt_logits_target,
    gpt_target,
    gpt_untied_target,
)
from minillm.check.rowwise import (
    activation_target,
    cross_entropy_target,
    dropout_target,
    embedding_target,
    feed_forward_half_target,
    feed_forward_target,
    head_loss_target,
    layernorm_eps_0_target,
    layernorm_target,
    linear_target,
    softmax_target,
)
from minillm.check.target import MakeTarget
from minillm.layers.activations import ACTIVATIONS

LAYERS: dict[str, MakeTarget] = {
    "linear": linear_target,
    "embedding": embedding_target,
    "layernorm": layernorm_target,
    "layernorm_eps_0": layernorm_eps_0_target,
    **{name: activation_target(op) for name, op in ACTIVATIONS.items()},
    "softmax": softmax_target,
    "dropout": dropout_target,
    "cross_entropy": cross_entropy_target,
    "head_loss": head_loss_target,
    "attention": attention_target,
    "attention_padded": attention_padded_target,
    "attention_packed": attention_packed_target,
    "attention_dropout": attention_dropout_target,
    "attention_half": attention_half_target,
    "causal_self_attention": causal_self_attention_target,
    "feed_forward": feed_forward_target,
    "feed_forward_half": feed_forward_half_target,
    "block": block_target,
    "gpt": gpt_target,
    "gpt_untied": gpt_untied_target,
    "gpt_dropout": gpt_dropout_target,
    "gpt_logits": gpt_logits_target,
}


def check_layer(name: str, dtype: str = "float64", seed: int = 0) -> Report:
    """Check the gradients and laws of a layer of `LAYERS`, at shapes and numbers that the seed decides.

    Raises:
        GradcheckError: a gradient is wrong, or a law is broken; its `report` says everything.
    """
    return LAYERS[name](np.random.default_rng(seed)).check(dtype, seed)
