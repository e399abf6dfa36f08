"""Whether all contestants did the same work: equal losses after the warm-up, or equal tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.peers import our_model, prompt, save_weights
from benchmarks.rounds import Measured
from benchmarks.table import FLOOR
from benchmarks.tasks import Task

LOSS_TOLERANCE = 1e-3  # float32, after some tens of steps
TIE = 1e-4  # of the largest logit: float32 sums in another order cannot tell two such tokens apart


def disagreement(task: Task, measured: dict[str, Measured]) -> str | None:
    """One sentence that names two contestants whose work differs by more than float32 allows; None if none does."""
    results = {name: m.warm_result for name, m in measured.items() if m.seconds and not name.startswith(FLOOR)}
    first, *others = results or [""]
    for other in others:
        a, b = results[first], results[other]
        if task.kind == "train":
            if not abs(a - b) <= LOSS_TOLERANCE:  # NaN is no agreement
                return f"{first} and {other} have losses of {a:.6g} and {b:.6g} after the same steps"
        elif a != b and (i := first_difference(a, b)) is not None and not tie(task, a[:i], a[i], b[i]):
            return f"{first} and {other} decode other tokens from token {i} of {task.size} on"
    return None


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """The index of the first token that differs, in both of which there is one."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)


def tie(task: Task, before: Sequence[int], a: int, b: int) -> bool:
    """Whether tokens a and b are equally likely after the prompt and `before`, as far as float32 tells."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(task, Path(folder))
        model = our_model(task, Path(folder))
    logits, _ = model(np.append(prompt(task), before)[None].astype(int))  # (1, T, V)
    row = logits.numpy()[0, -1]  # (V,)
    return bool(abs(row[a] - row[b]) <= TIE * abs(row).max())
