"""The gradient of every layer over drawn shapes, layouts and numbers, kinks and masks included."""

from __future__ import annotations

import pytest
from layer_calls import LAYERS, Draw

from autograd import Op
from autograd.gradcheck.strategies import Arrays, arrays, choices, given_edges, sizes


@pytest.mark.parametrize("layer", LAYERS)
@given_edges(B=sizes(2), T=sizes(3), H=sizes(2), D=sizes(2), variant=choices(0, 1, 2, 3), arrays=arrays())
def test_gradients_are_right(layer: str, B: int, T: int, H: int, D: int, variant: int, arrays: Arrays) -> None:
    LAYERS[layer](Draw(B, T, H, D, variant, arrays)).check(arrays.dtype)


def test_every_layer_is_here() -> None:
    ops = {name for name, op in Op.registry.items() if op.forward.reference.__module__.startswith("minillm.layers")}
    assert ops - LAYERS.keys() == set(), "add a line to tests/layer_calls.py"
