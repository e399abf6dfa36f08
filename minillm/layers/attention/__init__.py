"""Masked multi-head self-attention: `reference` is the formula, `compiled` its twins, `cached` for inference."""

from minillm.layers.attention import compiled as compiled  # registers the twins
from minillm.layers.attention.cached import LayerCache, attention_cached, cached_attention
from minillm.layers.attention.layer import CausalSelfAttention
from minillm.layers.attention.reference import (
    attention,
    attention_backward,
    attention_composed,
    attention_forward,
    attention_probs,
    masked_softmax,
    split_heads,
)

__all__ = [
    "CausalSelfAttention",
    "LayerCache",
    "attention",
    "attention_backward",
    "attention_cached",
    "attention_composed",
    "attention_forward",
    "attention_probs",
    "cached_attention",
    "masked_softmax",
    "split_heads",
]
