"""Documents packed into one row, with a mask by query and key, equal the same documents in rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import packed
from hypothesis import given
from hypothesis import strategies as st

from autograd import Tensor
from minillm import GPTConfig
from minillm.layers import CausalSelfAttention
from minillm.layers.attention import attention
from minillm.model import Block
from minillm.module import Module

N_HEAD, D_MODEL = 2, 4
LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)  # of the documents of one row


def assert_packed_is_separate(call: Callable[[Tensor, Any], Tensor], layer: Module, lengths: list[int], d: int) -> None:
    """`call(x, mask)` on documents packed in one row, and on one document after another with no mask.

    A second row holds one document of the same length, so that the mask must also be right by row.
    """
    rng, T = np.random.default_rng(0), sum(lengths)
    x, dy = rng.standard_normal((2, T, d)), rng.standard_normal((2, T, D_MODEL))
    ends = np.cumsum(lengths)
    mask = packed(list(np.repeat(np.arange(len(lengths)), lengths)), [0] * T)  # (2, T, T)

    def run(x: Any, dy: Any, mask: Any = None) -> tuple[Any, Any]:
        leaf = Tensor(x.copy(), requires_grad=True)
        y = call(leaf, mask)
        y.backward(dy)
        return y.data, leaf.grad

    y, dx = run(x, dy, mask)
    together = {name: p.grad for name, p in layer.named_parameters()}
    layer.zero_grad()
    spans = [(0, slice(end - n, end)) for n, end in zip(lengths, ends, strict=True)] + [(1, slice(0, T))]
    for b, span in spans:
        y_alone, dx_alone = run(x[b : b + 1, span], dy[b : b + 1, span])
        np.testing.assert_allclose(y[b, span], y_alone[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(dx[b, span], dx_alone[0], rtol=1e-10, atol=1e-12)
    for name, p in layer.named_parameters():  # the documents' gradients add up
        np.testing.assert_allclose(together[name], p.grad, rtol=1e-9, atol=1e-11, err_msg=name)


@given(LENGTHS)
def test_in_attention(lengths: list[int]) -> None:
    assert_packed_is_separate(lambda qkv, mask: attention(qkv, mask, n_head=N_HEAD), Module(), lengths, d=3 * D_MODEL)


@given(LENGTHS)
def test_in_the_layer_with_its_parameters(lengths: list[int]) -> None:
    layer = CausalSelfAttention(
        D_MODEL, N_HEAD, bias=True, dropout=0.0, proj_std=0.5, rng=np.random.default_rng(1), dtype="float64"
    )
    away_from_zero(layer)
    assert_packed_is_separate(layer, layer, lengths, d=D_MODEL)


@given(LENGTHS)
def test_in_blocks_one_after_another(lengths: list[int]) -> None:
    """Two blocks, so that what leaked in the first would reach other positions in the second."""
    config = GPTConfig(vocab_size=2, context_length=1, n_layer=2, n_head=N_HEAD, d_model=D_MODEL, dtype="float64")
    blocks = Module()
    blocks.layers = [Block(config, np.random.default_rng(seed)) for seed in (1, 2)]  # type: ignore[attr-defined]
    away_from_zero(blocks)

    def call(x: Tensor, mask: Any) -> Tensor:
        for block in blocks.layers:  # type: ignore[attr-defined]
            x = block(x, mask)
        return x

    assert_packed_is_separate(call, blocks, lengths, d=D_MODEL)


def away_from_zero(layer: Module) -> None:
    """Parameters of ordinary size: initial weights are small and biases zero, which would hide a leak."""
    rng = np.random.default_rng(3)
    for p in layer.parameters():
        p.data = p.data + 0.5 * rng.standard_normal(p.shape)
