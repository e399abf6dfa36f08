"""What to do when a loss or a gradient is not finite: name the layer, keep the batch, stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from autograd import Stream, use_stream
from autograd.backends import Array
from autograd.debug import NonFiniteError, debug
from minillm.data.loader import Batch
from minillm.errors import UserError
from minillm.files import replacing
from minillm.model import GPT


def stop_at_non_finite(run: Path, step: int, model: GPT, batches: Sequence[Batch], stream: Stream) -> NoReturn:
    """Write the batches of `step` to `run` and raise, before the weights are updated.

    Args:
        stream: the random stream as it was before the step, so that dropout draws the same masks.

    Raises:
        UserError: always; it names the step, the layer and the file.
    """
    origin = find_origin(model, batches, stream)
    path = run / f"nonfinite-step-{step}.npz"
    ids, targets = (np.stack(arrays) for arrays in zip(*batches, strict=True))  # each (grad_accum, B, T)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=ids, targets=targets)
    raise UserError(
        f"step {step} gave numbers that are not finite: {origin}; the weights are those of step {step - 1} "
        f"and the batch is in {str(path)!r}: lower --lr or --clip, lengthen --warmup, and start again or --resume"
    )


def find_origin(model: GPT, batches: Sequence[Batch], stream: Stream) -> str:
    """What the first number that is not finite was, as the step runs once more; its gradients are overwritten.

    The step runs in parts then, which may keep a sum just finite: failing that, a gradient that is not.
    """
    broken = [name for name, p in model.named_parameters() if not _is_finite(p.gradient_set())]
    model.zero_grad()
    try:
        with use_stream(stream), debug(model):
            for ids, targets in batches:
                model.loss(ids, targets).backward()
    except NonFiniteError as error:
        made = error.origin.inside
        return error.origin.sentence + (f", since {made.code or made.expression!r} gave {made.value}" if made else "")
    # all outputs are finite, so a backward pass made it: backward runs from the end, so the last one was the first
    return f"first the gradient of {broken[-1]}" if broken else "the sum of the gradients' squares"


def _is_finite(array: Array | None) -> bool:
    return array is None or bool(np.isfinite(array).all())
