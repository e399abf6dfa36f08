"""Our ids against tiktoken's: on random strings, and on every code point alone and in context."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from benchmarks.tokenizer.texts import random_text
from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.unicode_classes import N_CODE_POINTS


def strings(n: int, stride: int = 1, seed: int = 0) -> Iterator[str]:
    """n random strings, then every `stride`-th code point alone and in context."""
    rng = random.Random(seed)
    yield from (random_text(rng) for _ in range(n))
    for c in map(chr, range(0, N_CODE_POINTS, stride)):
        yield c
        yield f"a{c}1{c}{c} {c}\n{c}  {c}'s"


def count(n: int, stride: int = 1) -> int:
    """How many strings that is."""
    return n + 2 * -(-N_CODE_POINTS // stride)


def disagreement(ours: BPETokenizer, tiktoken: Any, n: int, stride: int = 1, seed: int = 0) -> str | None:
    """The first string whose ids are not tiktoken's, and whose they are; None if all are equal.

    The compiled encoder, the reference, and `encode` with special tokens each have to give them.
    """
    for text in tqdm(strings(n, stride, seed), total=count(n, stride), desc="strings", disable=None, leave=False):
        expected = tiktoken.encode_ordinary(text)
        if ours.encode_ordinary(text).tolist() != expected:
            return f"encode_ordinary({text!r}) is not tiktoken's {expected}"
        if ours.encode_reference(text).tolist() != expected:
            return f"encode_reference({text!r}) is not tiktoken's {expected}"
        if "<|endoftext|>" in text:
            special = tiktoken.encode(text, allowed_special="all")
            if ours.encode(text, allowed_special="all").tolist() != special:
                return f"encode({text!r}) with special tokens is not tiktoken's {special}"
    return None
