"""One step of a small model, so that every kernel that training needs is compiled before it begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autograd import no_grad
from minillm.config import GPTConfig
from minillm.layers.linear import FEW_ROWS
from minillm.model import GPT
from minillm.optim import AdamW, global_norm


def warm_up(config: GPTConfig) -> None:
    """Train and evaluate a model that is as `config` says, but for one layer and few tokens."""
    T = FEW_ROWS + 1  # linear layers have other kernels for fewer rows
    model = GPT(replace(config, n_layer=1, vocab_size=8, context_length=T))
    ids = np.zeros((1, T), np.int64)  # (B, T)
    optimizer = AdamW(model)
    model.loss(ids, ids).backward()
    global_norm(optimizer.grads())
    optimizer.step()
    with no_grad():
        model.loss(ids, ids)
