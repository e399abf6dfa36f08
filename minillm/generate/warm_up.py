"""A few tokens of a small model, so that every kernel that generation needs is compiled before it begins."""

from __future__ import annotations

from dataclasses import replace

from minillm.config import GPTConfig
from minillm.generate.generate import generate
from minillm.layers.linear import FEW_ROWS
from minillm.model import GPT


def warm_up(config: GPTConfig) -> None:
    """Generate with a model that is as `config` says, but for one layer, few tokens and a short context.

    A prompt of more than FEW_ROWS tokens, then a token by itself, then a context that has slid.
    """
    model = GPT(replace(config, n_layer=1, vocab_size=8, context_length=FEW_ROWS + 2))
    list(generate(model, [0] * (FEW_ROWS + 1), 3))
