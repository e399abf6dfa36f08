"""What to do when a loss or a gradient is not finite: name the layer, keep the batch, stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from autograd import Op, Stream, Tensor, no_grad, observe, use_stream
from minillm.data.loader import Batch
from minillm.errors import UserError
from minillm.files import replacing
from minillm.model import GPT


class _Found(Exception):
    """Ends the forward pass at the first output that is not finite."""


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
        f"step {step} gave numbers that are not finite, first in {origin}; the weights are those of step {step - 1} "
        f"and the batch is in {str(path)!r}: lower --lr or --clip, lengthen --warmup, and start again or --resume"
    )


def find_origin(model: GPT, batches: Sequence[Batch], stream: Stream) -> str:
    """The first layer, in order of execution, whose output is not finite; failing that, gradients that are not."""
    paths = {id(module): path for path, module in model.named_modules()}

    def check(op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any], y: Tensor) -> None:
        if not np.isfinite(y.data).all():
            raise _Found(f"the output of {_calling_layer(paths)} ({op.name})")

    try:
        with no_grad(), use_stream(stream), observe(check):
            for ids, targets in batches:
                model(ids, targets)
    except _Found as found:
        return str(found)
    # all outputs are finite, so a backward pass made it: backward runs from the end, so the last one was the first
    broken = [name for name, p in model.named_parameters() if not _is_finite(p.grad)]
    return f"the gradient of {broken[-1]}" if broken else "the sum of the gradients' squares"


def _is_finite(array: NDArray[Any] | None) -> bool:
    return array is None or bool(np.isfinite(array).all())


def _calling_layer(paths: dict[int, str]) -> str:
    """Path of the innermost module whose method is on the call stack; the model itself has the path ""."""
    frame = sys._getframe(1)
    while frame is not None:
        path = paths.get(id(frame.f_locals.get("self")))
        if path is not None:
            return path or "the model"
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return "the model"
