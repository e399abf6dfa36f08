"""Merges against those that Hugging Face's trainer and rustbpe learn from the same texts."""

from __future__ import annotations

import json

import pytest

from minillm.data import read_corpus
from minillm.tokenizer.compiled import counter, trainer
from minillm.tokenizer.split import PATTERNS, split_gpt2
from minillm.tokenizer.training import Pair, bytes_in_order, count_words, train_merges


@pytest.fixture(scope="module")
def texts() -> list[str]:
    code = read_corpus().text  # ASCII: all machines agree on its letters
    return [code[start : start + 50_000] for start in range(0, 1_000_000, 50_000)] + ["naïve Übung 你好 🙂"] * 3


@pytest.mark.parametrize("vocab_size", [512, 4096])
def test_hugging_face(texts: list[str], vocab_size: int) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is an optional peer")
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.train_from_iterator(
        texts,
        tokenizers.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False),
    )
    model = json.loads(peer.to_str())["model"]
    merges = [tuple(model["vocab"][half] for half in merge) for merge in model["merges"]]
    assert len(merges) == vocab_size - 256
    assert merges == both(texts, vocab_size - 256, "gpt2")


@pytest.mark.parametrize("vocab_size", [512, 4096])
def test_rustbpe(texts: list[str], vocab_size: int) -> None:
    rustbpe = pytest.importorskip("rustbpe", reason="rustbpe is an optional peer")
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(texts), vocab_size, pattern=PATTERNS["gpt2"])
    tokens = bytes_in_order("value")
    for left, right in both(texts, vocab_size - 256, "value"):
        tokens.append(tokens[left] + tokens[right])
    assert [(bytes(token), id) for token, id in peer.get_mergeable_ranks()] == [(t, i) for i, t in enumerate(tokens)]


def both(texts: list[str], n_merges: int, byte_order: str) -> list[Pair]:
    """The merges of the reference, which the kernels make too."""
    merges = train_merges(count_words(texts, split_gpt2), n_merges, byte_order=byte_order)
    assert merges == trainer.train_merges(counter.count_words(texts, split_gpt2), n_merges, byte_order=byte_order)
    return merges
