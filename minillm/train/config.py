"""TrainConfig: the numbers that define a training run, and a recipe for each preset that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from minillm.config import option
from minillm.errors import UserError
from minillm.optim.adamw import DECAYED_ROLES


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are nanoGPT's for a character model on a CPU.

    Raises:
        UserError: a value is out of range.
    """

    steps: int = option(2000, "updates of the weights")
    batch_size: int = option(12, "sequences of a micro-batch")
    grad_accum: int = option(1, "micro-batches whose gradients add up to one update")
    lr: float = option(1e-3, "highest learning rate")
    min_lr: float = option(1e-4, "learning rate at the end")
    warmup: int = option(100, "steps of linear warm-up")
    beta1: float = option(0.9, "AdamW: decay rate of the mean of gradients")
    beta2: float = option(0.99, "AdamW: decay rate of the mean of squared gradients")
    weight_decay: float = option(0.1, "AdamW: decoupled weight decay")
    decay: Literal["linear", "matrices"] = option(
        "linear", "what decays: linear (weights of linear layers) or matrices (embeddings too, as in nanoGPT)"
    )
    clip: float = option(1.0, "largest global norm of the gradient; inf: never clip")
    eval_every: int = option(500, "steps between evaluations on the validation split")
    checkpoint_every: int = option(500, "steps between checkpoints")
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    val_fraction: float = option(0.1, "share of the text, at its end, that is for validation")
    seed: int = option(0, "of initial weights, order of the data, and dropout")

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "grad_accum", "eval_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: give a whole number of at least 1")
        for name in ("lr", "min_lr", "warmup", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} is {getattr(self, name)}: give a finite number of at least 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: give a number of at least 0 and below 1")
        if not self.clip > 0:
            raise UserError(f"clip is {self.clip}: give a norm above 0, or inf to never clip")
        if not 0 < self.val_fraction < 1:
            raise UserError(f"val_fraction is {self.val_fraction}: give a number between 0 and 1, such as 0.1")
        if self.decay not in DECAYED_ROLES:
            raise UserError(f"unknown decay {self.decay!r}: choose one of {', '.join(DECAYED_ROLES)}")


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained unless flags say otherwise."""

    tokenizer: str
    train: dict[str, Any]


RECIPES = {
    # nanoGPT's README, "I only have a macbook": validation loss 1.88
    "shakespeare-char": Recipe("char", {"decay": "matrices"}),
    # some two minutes on two cores
    "python-tiny": Recipe("byte", {"lr": 2e-3, "min_lr": 2e-4, "steps": 1500, "eval_every": 750}),
}


def recipe(preset: str) -> Recipe:
    """The recipe of a preset; the defaults and bytes where it has none of its own."""
    return RECIPES.get(preset, Recipe("byte", {}))
