"""The training loop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from autograd import Stream, backends, no_grad, use_stream
from autograd.backends import Array
from minillm.data import Loader, windows
from minillm.data.loader import Batch
from minillm.layers.cross_entropy import IGNORE_INDEX
from minillm.model import GPT
from minillm.optim import AdamW, clip_scale, global_norm, warmup_cosine
from minillm.tokenizer import Tokenizer
from minillm.train import metrics
from minillm.train.bits_per_byte import bits_per_byte_of_nat
from minillm.train.checkpoint import Checkpoint, save_checkpoint
from minillm.train.config import TrainConfig
from minillm.train.interrupt import interruptible
from minillm.train.nonfinite import stop_at_non_finite

EVAL_TOKENS = 4096  # of one batch of evaluation: many rows of a short context, few of a long one


def accumulate_gradients(model: GPT, batches: Sequence[Batch]) -> Array:
    """Add the gradient of the mean loss over all targets of all micro-batches to the model's; returns that loss ().

    Each micro-batch counts by its targets, so that padding, spread unevenly, does not change the result.
    """
    counts = [int(np.count_nonzero(targets != IGNORE_INDEX)) for _, targets in batches]
    total = max(sum(counts), 1)
    mean: Any = 0.0
    for (ids, targets), count in zip(batches, counts, strict=True):
        loss = model.loss(ids, targets)
        loss.backward(count / total)
        mean = mean + loss.data * (count / total)
    return mean  # type: ignore[no-any-return]  # the sum began as a number


def evaluate(model: GPT, tokens: NDArray[np.integer]) -> float:
    """The mean loss in nats over all of `tokens` (n,), each but the first predicted once, without dropout."""
    T = model.config.context_length
    total, count = 0.0, 0
    model.eval()
    with no_grad():
        for ids, targets in windows(tokens, T, max(1, EVAL_TOKENS // T)):
            n = int(np.count_nonzero(targets != IGNORE_INDEX))
            total, count = total + n * float(model.loss(ids, targets)), count + n
    model.train()
    return total / count


class Trainer:
    """A training run: model, optimizer, data position and random stream, in one folder.

    Args:
        model: on the backend it is to be trained on.
        train_tokens, val_tokens: (n,) each.
        out: the run's folder; it exists.
        extra: more fields for the checkpoints' manifest.

    Raises:
        UserError: fewer tokens than a context needs, or validation tokens that stand for no text.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        train_tokens: NDArray[np.integer],
        val_tokens: NDArray[np.integer],
        config: TrainConfig,
        out: Path,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.val_tokens, self.config, self.out = model, tokenizer, val_tokens, config, out
        self.extra = extra or {}
        self.bits_per_byte_of_nat = bits_per_byte_of_nat(tokenizer, val_tokens)
        self.loader = Loader(train_tokens, config.batch_size, model.config.context_length, config.seed)
        self.optimizer = AdamW(
            model,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            decay=config.decay,
        )
        self.stream = Stream(config.seed)
        self.step = 0  # updates made so far
        self.seconds = 0.0  # spent on them, over all sessions
        self.val_loss: float | None = None

    @property
    def val_bits_per_byte(self) -> float | None:
        """`val_loss` in a unit that does not depend on the tokenizer."""
        return None if self.val_loss is None else self.val_loss * self.bits_per_byte_of_nat

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go to the state that `checkpoint` holds.

        Raises:
            UserError: it belongs to another model or to other data.
        """
        manifest = checkpoint.manifest
        self.loader.load_state_dict(manifest["loader"])
        checkpoint.restore(self.model, self.optimizer)
        self.stream = Stream(**manifest["stream"])
        self.step, self.seconds, self.val_loss = manifest["step"], manifest["seconds"], manifest["val_loss"]
        metrics.cut_back(self.out / metrics.METRICS_FILE, self.step)

    def save(self) -> Path:
        """Write a checkpoint; returns its folder."""
        manifest = {
            "step": self.step,
            "seconds": self.seconds,
            "val_loss": self.val_loss,
            "config": asdict(self.model.config),
            "train_config": asdict(self.config),
            "tokenizer": self.tokenizer.to_dict(),
            "loader": self.loader.state_dict(),
            "stream": asdict(self.stream),
            **self.extra,
        }
        return save_checkpoint(self.out, self.model, self.tokenizer, self.optimizer, manifest)

    def train(self) -> bool:
        """Train up to `config.steps`; False if Ctrl-C or SIGTERM stopped it, at a checkpoint.

        Raises:
            UserError: a loss or gradient is not finite, or a file cannot be written.
        """
        c = self.config
        tokens_per_step = c.batch_size * c.grad_accum * self.model.config.context_length
        self.model.train()
        self.save()
        logged_step, logged_at = self.step, time.perf_counter()
        with (
            interruptible() as interrupted,
            tqdm(total=c.steps, initial=self.step, unit="step", dynamic_ncols=True, disable=None) as bar,
        ):
            while self.step < c.steps and not interrupted.is_set():
                loss, norm = self.update()
                bar.update()
                evaluates = self.step % c.eval_every == 0 or self.step == c.steps
                if evaluates or self.step % c.log_every == 0:
                    elapsed = time.perf_counter() - logged_at
                    self.seconds += elapsed
                    speed = (self.step - logged_step) * tokens_per_step / elapsed
                    bar.set_postfix(loss=f"{loss:.3f}", tokens_per_s=f"{speed:,.0f}", refresh=False)
                    if evaluates:
                        self._evaluate(bar, loss)
                    self._log(loss, norm, evaluates, speed)
                    logged_step, logged_at = self.step, time.perf_counter()
                if self.step % c.checkpoint_every == 0 or self.step == c.steps:
                    self.save()
        if self.step < c.steps:
            self.save()
        return self.step == c.steps

    def update(self) -> tuple[float, float]:
        """One update of the weights; returns the loss before it and the gradient's norm before clipping.

        Raises:
            UserError: one of them is not finite; the weights are unchanged.
        """
        c = self.config
        batches = [next(self.loader) for _ in range(c.grad_accum)]
        stream_before = replace(self.stream)
        self.optimizer.zero_grad()
        with use_stream(self.stream), np.errstate(all="ignore"):  # numbers that are not finite are looked for below
            mean = accumulate_gradients(self.model, batches)
            both = np.stack((mean.astype(np.float64), global_norm(self.optimizer.grads())))  # (2,)
            loss, norm = backends.backend_of(both).to_host(both).tolist()  # the one wait for the device
            if not math.isfinite(loss + norm):
                stop_at_non_finite(self.out, self.step + 1, self.model, batches, stream_before)
        self.optimizer.lr = self.learning_rate()
        self.optimizer.step(clip_scale(norm, c.clip))
        self.step += 1
        return loss, norm

    def learning_rate(self) -> float:
        """Of the next update."""
        c = self.config
        return warmup_cosine(self.step, lr=c.lr, min_lr=c.min_lr, warmup=c.warmup, steps=c.steps)

    def _evaluate(self, bar: tqdm[Any], train_loss: float) -> None:
        self.val_loss = evaluate(self.model, self.val_tokens)
        bar.write(
            f"step {self.step}: training loss {train_loss:.4f}, validation loss {self.val_loss:.4f}, "
            f"{self.val_bits_per_byte:.4f} bits per byte",
            file=sys.stderr,
        )

    def _log(self, loss: float, norm: float, evaluated: bool, speed: float) -> None:
        line = {
            "step": self.step,
            "train_loss": loss,
            "val_loss": self.val_loss if evaluated else None,
            "val_bits_per_byte": self.val_bits_per_byte if evaluated else None,
            "lr": self.optimizer.lr,
            "grad_norm": norm,
            "tokens_per_second": round(speed, 1),
            "seconds": round(self.seconds, 3),
        }
        metrics.append(self.out / metrics.METRICS_FILE, line)
