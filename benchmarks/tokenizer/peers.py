"""Other tokenizers with GPT-2's vocabulary, and other trainers. All are optional."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.split import PATTERNS
from minillm.tokenizer.training import Pair

PEERS = ("tiktoken", "tokenizers", "rustbpe")
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # before they are imported


def installed() -> list[str]:
    return [name for name in PEERS if importlib.util.find_spec(name)]


def versions() -> dict[str, str]:
    return {name: version(name) for name in (*installed(), "numpy", "numba", "regex")}


def tiktoken_gpt2(folder: Path) -> Any:
    """tiktoken's Encoding of GPT-2, from the files of `folder`: it would fetch them from the network."""
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    ranks = data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(folder / "vocab.bpe"), encoder_json_file=str(folder / "encoder.json")
    )
    special = {END_OF_TEXT: len(ranks)}
    return tiktoken.Encoding("gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens=special)


def huggingface_gpt2(folder: Path) -> Any:
    """Hugging Face's Tokenizer of GPT-2, without its special token, which would be found in text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def train_huggingface(texts: Sequence[str], vocab_size: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def merges_of_huggingface(tokenizer: Any) -> list[Pair]:
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def train_rustbpe(texts: Sequence[str], vocab_size: int) -> Any:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=PATTERNS["gpt2"])
    return tokenizer


def tokens_of_rustbpe(tokenizer: Any) -> list[bytes]:
    return [bytes(token) for token, _ in tokenizer.get_mergeable_ranks()]
