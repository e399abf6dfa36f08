"""Correct layers pass whatever the numbers are, and an error far below what training would show does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from layer_calls import LAYERS, Call, Draw

from autograd import Op
from autograd.gradcheck.check import make_subject
from autograd.gradcheck.strategies import Arrays

N_SEEDS = 10 * settings().max_examples  # 100 in the profile dev, 1,000 in ci
PLANTED = {"float64": 1e-6, "float32": 1e-3}


@pytest.mark.parametrize(("i", "layer"), list(enumerate(LAYERS)), ids=LAYERS)
def test_correct_layers_pass(i: int, layer: str) -> None:
    """Each seed is for one layer: sizes, variant, layout, and values with kinks, ties or of 1e4; in both dtypes."""
    for seed in range(i, N_SEEDS, len(LAYERS)):
        for dtype in PLANTED:
            LAYERS[layer](Draw.of_seed(seed, dtype)).check(dtype, seed)


@pytest.mark.parametrize("dtype", PLANTED)
@pytest.mark.parametrize(("layer", "values"), [("relu", "zeros"), ("reduce_max", "ties"), ("reduce_max", "equal")])
def test_kinks_are_counted_and_nothing_else_is_left_out(layer: str, values: str, dtype: str) -> None:
    call = LAYERS[layer](Draw(B=3, T=4, H=1, D=5, variant=0, arrays=Arrays(values=values, dtype=dtype)))
    (x,) = call.inputs
    if layer == "relu":
        kinks = (x == 0).sum()
    else:  # moving one of several maxima up moves the maximum, moving it down does not
        at_max = x == x.max(-1, keepdims=True)
        kinks = (at_max & (at_max.sum(-1, keepdims=True) > 1)).sum()
    (row,) = call.check(dtype).rows
    assert (row.kinks, row.checked) == (kinks, x.size - kinks)
    assert kinks > 0


def plant(call: Call, i: int, place: tuple[int, ...], relative: float) -> Call:
    """The call with one element of the gradient of input i off by this share of it."""
    op: Op = call.target

    def wrong_backward(dy: Any, *saved: Any) -> Any:
        dxs = [None if dx is None else np.array(dx) for dx in op.backward.reference(dy, *saved)]
        dxs[i][place] *= 1 + relative
        return dxs

    return Call((op.forward.reference, wrong_backward), call.inputs, call.attributes, call.constants)


@pytest.mark.parametrize("dtype", PLANTED)
@pytest.mark.parametrize("layer", [name for name in LAYERS if name in Op.registry])
def test_any_one_element_that_is_off_by_little_is_found(layer: str, dtype: str) -> None:
    call = LAYERS[layer](Draw(B=2, T=2, H=2, D=2, variant=0, arrays=Arrays(dtype=dtype)))
    subject = make_subject(call.target, call.inputs, call.attributes, {}, call.constants, dtype, seed=0)
    gradients = subject.gradients(subject.values, subject.upstream(subject.forward(subject.values)))
    for i, name in enumerate(subject.values):
        g = np.abs(gradients.get(name, np.zeros(0)))
        for place in np.argwhere(g > 0.1 * g.max(initial=0)):
            with pytest.raises(AssertionError, match=f"The gradient of {name} .* is wrong in 1 of"):
                plant(call, i, tuple(place), PLANTED[dtype]).check(dtype)
