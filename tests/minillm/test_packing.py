"""Documents packed into one row, with a mask by query and key, equal the same documents in rows of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cases import packed
from hypothesis import given
from hypothesis import strategies as st

from autograd import Tensor
from autograd.backends import Array
from autograd.gradcheck.check import make_subject
from autograd.gradcheck.laws import separate_documents
from minillm import GPTConfig
from minillm.layers import CausalSelfAttention
from minillm.model import Block
from minillm.module import Module

D_MODEL = 4
LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)  # of the documents of one row


def how_packed_differs(layer: Callable[..., Tensor], lengths: list[int]) -> str | None:
    """What the law says of a row of documents; a second row is one document, so that the mask must be right by row."""
    mask = packed(list(np.repeat(np.arange(len(lengths)), lengths)), [0] * sum(lengths))  # (2, T, T)
    x = np.random.default_rng(0).standard_normal((2, sum(lengths), D_MODEL))
    subject = make_subject(layer, [x, mask], {}, {}, (), "float64", 0)
    return separate_documents("x").broken(subject, np.random.default_rng(1))


def away_from_zero(layer: Module) -> None:
    """Parameters of ordinary size: initial weights are small and biases zero, which would hide a leak."""
    rng = np.random.default_rng(3)
    for p in layer.parameters():
        p.data = p.data + 0.5 * rng.standard_normal(p.shape)


def attention_layer() -> CausalSelfAttention:
    layer = CausalSelfAttention(
        D_MODEL, 2, bias=True, dropout=0.0, proj_std=0.5, rng=np.random.default_rng(1), dtype="float64"
    )
    away_from_zero(layer)
    return layer


class TwoBlocks(Module):
    """What leaked in the first would reach other positions in the second."""

    def __init__(self) -> None:
        config = GPTConfig(vocab_size=2, context_length=1, n_layer=2, n_head=2, d_model=D_MODEL, dtype="float64")
        self.blocks = [Block(config, np.random.default_rng(seed)) for seed in (1, 2)]

    def __call__(self, x: Tensor, mask: Array) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


@given(LENGTHS)
def test_in_the_layer_with_its_parameters(lengths: list[int]) -> None:
    assert how_packed_differs(attention_layer(), lengths) is None


@given(LENGTHS)
def test_in_blocks_one_after_another(lengths: list[int]) -> None:
    blocks = TwoBlocks()
    away_from_zero(blocks)
    assert how_packed_differs(blocks, lengths) is None


def test_without_the_mask_documents_are_not_separate() -> None:
    layer = attention_layer()
    assert "one document depends on another" in str(how_packed_differs(lambda x, mask: layer(x), [2, 1]))
