"""Learning-rate schedules: functions from the number of the step to the rate."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, lr: float, min_lr: float, warmup: int, steps: int) -> float:
    """nanoGPT's schedule: up in a line to `lr`, then half a cosine (arXiv:1608.03983) down to `min_lr`.

    Args:
        step: number of the step, from 0.
        warmup: steps of warm-up; step i of them gets lr * (i+1) / (warmup+1).
        steps: the step at which `min_lr` is reached; it stays from there on.
    """
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    if step >= steps:
        return min_lr
    progress = (step - warmup) / (steps - warmup)  # 0 at the end of warm-up, 1 at the end
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (lr - min_lr)
