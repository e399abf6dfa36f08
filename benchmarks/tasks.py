"""What is measured: a training step or the decoding of one stream, by a GPT of some shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Task:
    """One row of work.

    Args:
        name: what the command line calls it.
        kind: "train": forward, backward, clipping and AdamW of one batch; "decode": greedy tokens of one stream, after
            a prompt of PROMPT_TOKENS.
        shape: the fields of GPTConfig.
        size: sequences in the batch; or tokens to decode.
        units: steps, or streams, in a round.
    """

    name: str
    kind: str
    shape: dict[str, Any]
    size: int
    units: int

    def describe(self) -> str:
        s = self.shape
        model = f"{s['n_layer']} layers, {s['n_head']} heads, width {s['d_model']}, {s['vocab_size']} token ids"
        work = f"batch {self.size} x {s['context_length']}" if self.kind == "train" else f"{self.size} greedy tokens"
        return f"{self.name}: {model}, {work}, float32"


def _shape(n_layer: int, n_head: int, d_model: int, context_length: int, vocab_size: int) -> dict[str, Any]:
    return {
        "n_layer": n_layer,
        "n_head": n_head,
        "d_model": d_model,
        "context_length": context_length,
        "vocab_size": vocab_size,
    }


TASKS = {
    task.name: task
    for task in (
        Task("S", "train", _shape(4, 4, 128, 64, 65), size=12, units=20),  # nanoGPT's setting for a CPU
        Task("M", "train", _shape(6, 6, 384, 256, 65), size=8, units=3),  # its "baby GPT" with a smaller batch
        Task("L", "train", _shape(12, 12, 768, 128, 50257), size=4, units=2),  # GPT-2 of 124M parameters
        Task("long", "train", _shape(6, 6, 384, 1024, 65), size=2, units=3),
        Task("decode-M", "decode", _shape(6, 6, 384, 256, 65), size=200, units=1),
        Task("decode-L", "decode", _shape(12, 12, 768, 1024, 50257), size=64, units=1),
    )
}
