"""Layers, each with its hand-written backward in its own file.

Classes only: re-exporting the op `layernorm` would hide the module of that name.
"""

from minillm.layers.attention import CausalSelfAttention
from minillm.layers.dropout import Dropout
from minillm.layers.embedding import Embedding
from minillm.layers.feed_forward import FeedForward
from minillm.layers.layernorm import LayerNorm
from minillm.layers.linear import Linear

__all__ = ["CausalSelfAttention", "Dropout", "Embedding", "FeedForward", "LayerNorm", "Linear"]
