"""The promise of the house: one library frame between the caller's `loss.backward()` and the hand-written gradient."""

from __future__ import annotations

import inspect
from types import FrameType

import numpy as np
import pytest

from autograd import Op, Tensor
from minillm import GPT, GPTConfig
from minillm.layers.layernorm import layernorm_backward


def test_from_a_hand_written_gradient_it_is_one_frame_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[list[FrameType]] = []

    def frames_of(dy, x, mean, rstd, weight, bias):  # type: ignore[no-untyped-def]
        frame = inspect.currentframe()
        assert frame is not None
        stacks.append([info.frame for info in inspect.getouterframes(frame)[:3]])
        return layernorm_backward(dy, x, mean, rstd, weight, bias)

    monkeypatch.setattr(Op.registry["layernorm"].backward, "reference", frames_of)
    model = GPT(GPTConfig.preset("nano"))
    ids = np.zeros((1, 4), int)
    _, loss = model(ids, ids)
    assert loss is not None
    loss.backward()
    assert len(stacks) == 5  # two norms in each of two blocks, and the last
    for stack in stacks:
        assert [frame.f_code for frame in stack] == [
            frames_of.__code__,
            Tensor.backward.__code__,
            inspect.currentframe().f_code,  # type: ignore[union-attr]
        ]


def test_every_hand_written_gradient_is_called_as_it_is() -> None:
    """No decorator or wrapper around a backward: what the tape calls is the function in the op's file."""
    for name, op in Op.registry.items():
        for kernel, kind in ((op.forward, "forward"), (op.backward, "backward")):
            assert inspect.isfunction(kernel.reference)
            assert kernel.reference.__code__.co_name == f"{name}_{kind}"
            assert not hasattr(kernel.reference, "__wrapped__")
