"""The attention half of a block as one op: its twins at many shapes, and when it runs instead of its parts."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_same

from autograd import Stream, Tensor, compose, observe, use_backend, use_stream
from autograd.backends import Array
from autograd.backends import numba as numba_backend
from autograd.tape import tape
from minillm.config import GPTConfig
from minillm.layers import attention_half as module
from minillm.layers.attention_half import attention_half
from minillm.model import Block

pytest.importorskip("numba")

few = st.integers(1, 3)
sizes = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(B=few, T=sizes, H=few, D=sizes, biases=st.booleans(), n_threads=st.integers(1, 4), tile=sizes)
def test_twins_at_any_shape_in_tiles_of_any_size(
    B: int, T: int, H: int, D: int, biases: bool, n_threads: int, tile: int
) -> None:
    rng, C = np.random.default_rng(B * T * H * D), H * D
    shapes = ((B, T, C), (C,), (C,), (3 * C, C), (3 * C,), (C, C), (C,))
    inputs = [(rng.standard_normal(shape) / shape[-1] ** 0.5).astype("float32") for shape in shapes]
    if not biases:
        inputs[2::2] = [None, None, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)  # work is cut for so many, however many there are
        patch.setattr(module, "TILE", tile)
        forward, backward = attention_half.forward, attention_half.backward
        twin, reference = (functools.partial(f, n_head=H) for f in (forward.on("numba"), forward.reference))
        y, saved = assert_same(twin, reference, inputs)
        dy = rng.standard_normal(y.shape).astype("float32")
        assert_same(backward.on("numba"), backward.reference, [dy, *saved])


def block(**fields: object) -> Block:
    sizes = {"vocab_size": 7, "context_length": 5, "n_layer": 1, "n_head": 2, "d_model": 6}
    return Block(GPTConfig.from_dict({**sizes, **fields}), np.random.default_rng(0))


def fused(block: Block, mask: Array | None = None) -> bool:
    """Whether the half is one op in a block's tape, and not its parts."""
    x = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(block.ln1.weight.dtype)
    with use_stream(Stream(0)):
        ops = [str(node.op) for node in tape(block(Tensor(x, requires_grad=True), mask))]
    return "attention_half" in ops and "attention" not in ops


def test_one_op_where_the_backend_has_a_kernel_for_it_the_parts_elsewhere() -> None:
    plain, dropping = block(), block(dropout=0.5)
    assert not fused(plain)
    with use_backend("numba"):
        assert fused(plain)
        assert not fused(plain, np.ones((2, 3), bool))
        assert not fused(block(dtype="float64"))
        assert not fused(dropping)
        dropping.eval()
        assert fused(dropping)
        with observe(lambda *_: None):
            assert not fused(plain)
        with compose():
            assert not fused(plain)
