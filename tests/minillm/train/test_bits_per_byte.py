"""Bits per byte: the same for equal models, whatever cuts the text."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import UserError
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from minillm.train import bits_per_byte
from minillm.train.bits_per_byte import bits_per_byte_of_nat

TEXT = "the cat sat on the mat, the café is là-bas. " * 4
KINDS = [ByteTokenizer(), CharTokenizer.train(TEXT), BPETokenizer.train(TEXT, vocab_size=280, special_tokens=["<end>"])]


@pytest.mark.parametrize("tokenizer", KINDS, ids=lambda tokenizer: tokenizer.name)
def test_tokens_that_cost_as_much_as_their_bytes_give_8_bits_a_byte(tokenizer: Tokenizer) -> None:
    """A model for which each byte is as likely as another: ln 256 nats for each byte that a token stands for."""
    ids = tokenizer.encode(TEXT)
    nats = [len(tokenizer.decode_bytes([id])) * math.log(256) for id in ids[1:]]
    assert np.mean(nats) * bits_per_byte_of_nat(tokenizer, ids) == pytest.approx(8)


@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=4).map(sorted), at_once=st.integers(1, 50))
def test_special_tokens_cost_and_stand_for_no_bytes(cuts: list[int], at_once: int) -> None:
    tokenizer = KINDS[2]
    parts = [tokenizer.encode(TEXT[a:b]) for a, b in pairwise([0, *cuts, len(TEXT)])]
    end = tokenizer.special_tokens["<end>"]
    ids = np.concatenate([np.append(part, end) for part in parts])
    n_bytes = len(TEXT.encode()) - (ids[0] != end) * len(tokenizer.decode_bytes(ids[:1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits_per_byte, "COUNTED_AT_ONCE", at_once)
        assert bits_per_byte_of_nat(tokenizer, ids) == pytest.approx((len(ids) - 1) / n_bytes / math.log(2))


def test_tokens_without_text() -> None:
    tokenizer = KINDS[2]
    end = tokenizer.special_tokens["<end>"]
    with pytest.raises(UserError, match="special tokens only"):
        bits_per_byte_of_nat(tokenizer, np.array([5, end, end]))
    with pytest.raises(UserError, match="token id 999 at position 1 is not in this vocabulary of"):
        bits_per_byte_of_nat(tokenizer, np.array([0, 0, 999]))
