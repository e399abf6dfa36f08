"""A model and a corpus small enough that a training run takes a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minillm import GPT, GPTConfig
from minillm.tokenizer import ByteTokenizer
from minillm.train import TrainConfig, Trainer

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """`make_trainer("run", steps=8, dropout=0.1)`: a Trainer in tmp_path/run, from fields of both configurations."""

    def make(name: str = "run", *, dropout: float = 0.0, **changes: Any) -> Trainer:
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        tokens = ByteTokenizer().encode("the quick brown fox jumps over the lazy dog. " * 20)
        shape = {"vocab_size": 256, "context_length": 8, "n_layer": 2, "n_head": 2, "d_model": 16}
        fields = {"steps": 8, "batch_size": 3, "warmup": 2, "checkpoint_every": 2, "eval_every": 4, "log_every": 1}
        config = TrainConfig(**{**fields, **changes})
        model = GPT(GPTConfig(**shape, dropout=dropout), config.seed)
        return Trainer(model, ByteTokenizer(), tokens[:800], tokens[800:], config, out)

    return make
