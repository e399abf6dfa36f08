"""One step of a small model, so that every kernel that a run needs is compiled before it begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autograd import no_grad
from minillm.config import GPTConfig
from minillm.generate import generate
from minillm.model import GPT
from minillm.optim import AdamW, global_norm


def warm_up(config: GPTConfig) -> None:
    """Train, evaluate and sample with a model that is as `config` says, but for one layer and few tokens."""
    model = GPT(replace(config, n_layer=1, vocab_size=8, context_length=4))
    ids = np.zeros((1, 4), np.int64)  # (B, T)
    optimizer = AdamW(model)
    model.loss(ids, ids).backward()
    global_norm(optimizer.grads())
    optimizer.step()
    with no_grad():
        model.loss(ids, ids)
    list(generate(model, [0], 2))
