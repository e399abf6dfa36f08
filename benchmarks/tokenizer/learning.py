"""How fast merges are learned. All must learn the same ones before any is timed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rounds import rotated
from benchmarks.tokenizer import peers
from benchmarks.tokenizer.turns import Contestant, Disagreement, Seconds, time_once
from minillm.data.corpus import iter_texts
from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.compiled import counter, trainer
from minillm.tokenizer.split import split_gpt2
from minillm.tokenizer.training import bytes_in_order

API, STREAMED, HUGGING_FACE, RUSTBPE = "minillm", "minillm, streamed from files", "HF tokenizers", "rustbpe"


def learn(texts: Sequence[str], files: Sequence[Path], vocab_size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of each trainer, one thread, and the ratio to ours: above 1 is slower than ours.

    Merges end where no pair is left, so that a small text may have fewer than vocab_size asks for.

    Args:
        texts: those of `files`.

    Raises:
        Disagreement: a trainer learned other merges than ours.
    """
    names = [str(path) for path in files]
    contestants: dict[str, Contestant] = {
        API: Contestant(lambda _: train(texts, vocab_size)),
        STREAMED: Contestant(lambda _: train(iter_texts(names), vocab_size)),
    }
    installed = peers.installed()
    if "tokenizers" in installed:
        contestants[HUGGING_FACE] = Contestant(lambda _: peers.train_huggingface(texts, vocab_size))
    if "rustbpe" in installed:
        contestants[RUSTBPE] = Contestant(lambda _: peers.train_rustbpe(texts, vocab_size))
    what_it_learned: dict[str, Callable[[Any], Any]] = {
        API: lambda tokenizer: tokenizer.vocabulary.merges,
        STREAMED: lambda tokenizer: tokenizer.vocabulary.merges,
        HUGGING_FACE: peers.merges_of_huggingface,
        RUSTBPE: peers.tokens_of_rustbpe,
    }
    expected: dict[str, Any] = {}
    for name, contestant in contestants.items():
        learned = what_it_learned[name](time_once(contestant)[1])
        if name == RUSTBPE:  # bytes are numbered by their value there, which decides between equally frequent pairs
            expected[name] = tokens_by_value(texts, vocab_size)
        else:
            expected[name] = expected.get(API, learned)
        if list(learned) != list(expected[name]):
            raise Disagreement(f"{name} does not learn what minillm does at {vocab_size:,}")
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds):
        for name in rotated(list(contestants), i):
            gc.collect()
            found[name].append(time_once(contestants[name])[0])
    times = {name: Seconds(rounds_s) for name, rounds_s in found.items()}
    return {
        name: {
            "seconds": t.median,
            "rounds_s": t.rounds,
            f"/ {API}": t.median / times[API].median,
            "merges": len(expected[API]),
        }
        for name, t in times.items()
    }


def train(texts: Iterable[str], vocab_size: int) -> BPETokenizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of fewer merges than asked for
        return BPETokenizer.train(texts, vocab_size=vocab_size, min_frequency=1)


def tokens_by_value(texts: Sequence[str], vocab_size: int) -> list[bytes]:
    """The tokens that our trainer learns where bytes are numbered by their value."""
    tokens = bytes_in_order("value")
    counts = counter.count_words(texts, split_gpt2)
    for left, right in trainer.train_merges(counts, vocab_size - 256, byte_order="value"):
        tokens.append(tokens[left] + tokens[right])
    return tokens
