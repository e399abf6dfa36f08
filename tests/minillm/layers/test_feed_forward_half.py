"""The feed-forward half of a block as one op: its twins at many shapes, and when it runs instead of its parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_same

from autograd import Stream, Tensor, compose, observe, use_backend, use_stream
from autograd.backends import numba as numba_backend
from minillm.config import GPTConfig
from minillm.layers import feed_forward_half as module
from minillm.layers.feed_forward_half import feed_forward_half
from minillm.model import Block

pytest.importorskip("numba")

sizes = st.integers(1, 20)


@settings(max_examples=40, deadline=None)
@given(B=st.integers(1, 3), T=sizes, C=sizes, F=sizes, biases=st.booleans(), n_threads=st.integers(1, 4), tile=sizes)
def test_twins_at_any_shape_in_tiles_of_any_size(
    B: int, T: int, C: int, F: int, biases: bool, n_threads: int, tile: int
) -> None:
    rng = np.random.default_rng(B * T * C * F)
    shapes = ((B, T, C), (C,), (C,), (F, C), (F,), (C, F), (C,))
    inputs = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    if not biases:
        inputs[2::2] = [None, None, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)  # work is cut for so many, however many there are
        patch.setattr(module, "TILE", tile)
        forward, backward = feed_forward_half.forward, feed_forward_half.backward
        y, saved = assert_same(forward.on("numba"), forward.reference, inputs)
        dy = rng.standard_normal(y.shape).astype("float32")
        assert_same(backward.on("numba"), backward.reference, [dy, *saved])


def block(**fields: object) -> Block:
    sizes = {"vocab_size": 7, "context_length": 5, "n_layer": 1, "n_head": 2, "d_model": 6}
    return Block(GPTConfig.from_dict({**sizes, **fields}), np.random.default_rng(0))


def runs(block: Block) -> str:
    """Which op a block's output comes from."""
    x = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(block.ln2.weight.dtype)
    with use_stream(Stream(0)):
        node = block(Tensor(x, requires_grad=True)).node
    assert node is not None
    return str(node.op)


def test_one_op_where_the_backend_has_a_kernel_for_it_the_parts_elsewhere() -> None:
    gpt2 = block(activation="gelu_tanh")
    assert runs(gpt2) == "add"
    with use_backend("numba"):
        assert runs(gpt2) == "feed_forward_half"
        assert runs(block(activation="gelu")) == "add"
        assert runs(block(activation="gelu_tanh", dtype="float64")) == "add"
        dropping = block(activation="gelu_tanh", dropout=0.5)
        assert runs(dropping) == "add"
        dropping.eval()
        assert runs(dropping) == "feed_forward_half"
        with observe(lambda *_: None):
            assert runs(gpt2) == "add"
        with compose():
            assert runs(gpt2) == "add"


@pytest.mark.parametrize("bias", [True, False])
def test_a_block_computes_the_same_on_either_path(bias: bool) -> None:
    gpt2 = block(activation="gelu_tanh", bias=bias)
    rng = np.random.default_rng(1)
    for p in gpt2.parameters():
        p.data = (p.data + 0.4 * rng.standard_normal(p.shape)).astype("float32")
    x, dy = rng.standard_normal((2, 2, 3, 6)).astype("float32")
    results = []
    for backend in ("numpy", "numba"):
        for p in gpt2.parameters():
            p.grad = None
        with use_backend(backend):
            leaf = Tensor(x, requires_grad=True)
            y = gpt2(leaf)
            y.backward(dy)
        results.append([y.data, leaf.grad, *(p.grad for p in gpt2.parameters())])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5 * np.abs(one).max())
