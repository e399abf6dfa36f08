"""Ids of GPT-2's vocabulary against tiktoken's. All code points: `python -m benchmarks.tokenizer --fuzz 200000`."""

from __future__ import annotations

import pytest

from benchmarks.tokenizer import fuzz, peers
from benchmarks.tokenizer.texts import DATA
from minillm.tokenizer import BPETokenizer

N_STRINGS = 20_000
STRIDE = 17  # of code points: prime, so that it is in step with no block of them


def test_ids_are_tiktokens_compiled_and_in_plain_python() -> None:
    pytest.importorskip("tiktoken", reason="tiktoken is an optional peer")
    folder = DATA / "gpt2"
    if not folder.exists():
        pytest.skip("needs ../shared/data/gpt2 beside the repository")
    ours = BPETokenizer.from_gpt2_files(folder / "encoder.json", folder / "vocab.bpe")
    assert fuzz.disagreement(ours, peers.tiktoken_gpt2(folder), N_STRINGS, STRIDE) is None
