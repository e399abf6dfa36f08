"""Merges learned from text: the reference against brute force, the kernels against the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memory import peak_bytes

from autograd import jit
from minillm.errors import UserError
from minillm.tokenizer import BPETokenizer, learn, training
from minillm.tokenizer.compiled import counter, trainer
from minillm.tokenizer.split import PATTERNS, split_gpt2, splitter
from minillm.tokenizer.training import ByteOrder, Pair, Tie, bytes_in_order, count_words, merged

# with AUTOGRAD_JIT=0 NumPy tells of numbers that wrap, as they are meant to where words are looked for
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")
needs_machine_code = pytest.mark.skipif(not jit.ENABLED, reason="measures compiled kernels")


def brute_force(words: list[bytes], n_merges: int, byte_order: ByteOrder, min_frequency: int, tie: Tie) -> list[Pair]:
    """Every pair of the text counted before every merge, as minbpe does; `words` are all, in the order of the text."""
    order = bytes_in_order(byte_order)
    ids = [[order.index(bytes([byte])) for byte in word] for word in words]
    merges: list[Pair] = []
    while len(merges) < n_merges:
        counts = Counter(pair for word in ids for pair in pairwise(word))  # in the order of their first occurrence
        most = max(counts.values(), default=0)
        if most < max(min_frequency, 1):
            break
        first = [pair for pair, count in counts.items() if count == most]
        merges.append(first[0] if tie == "first" else min(first))
        ids = [merged(word, merges[-1], 255 + len(merges)) for word in ids]
    return merges


def merges_of(words: list[str], n_merges: int = 100, *, min_frequency: int = 1, tie: Tie = "id") -> list[bytes]:
    """The tokens that merges of words make, in their order."""
    tokens = bytes_in_order("gpt2")
    counts = Counter(word.encode() for word in words)
    for left, right in training.train_merges(counts, n_merges, min_frequency=min_frequency, tie=tie):
        tokens.append(tokens[left] + tokens[right])
    return tokens[256:]


@given(random=st.randoms(use_true_random=False))
def test_reference_is_brute_force_and_kernels_are_the_reference(random: Random) -> None:
    for _ in range(20):
        # few symbols, so that pairs come back, overlap and are equally frequent
        symbols = random.choice(["ab ", "aé b'sx\n", "a"])
        texts = ["".join(random.choices(symbols, k=random.randint(0, 60))) for _ in range(random.randint(0, 4))]
        n_merges = random.choice([0, 1, 10, 1000])
        rules: dict[str, Any] = {
            "byte_order": random.choice(["gpt2", "value"]),
            "min_frequency": random.randint(0, 4),
            "tie": random.choice(["id", "first"]),
        }
        words = [word.encode() for text in texts for word in split_gpt2(text)]
        counts = count_words(texts, split_gpt2)
        assert list(counts.items()) == list(Counter(words).items())  # in the same order
        merges = training.train_merges(counts, n_merges, **rules)
        assert merges == brute_force(words, n_merges, **rules), (texts, n_merges, rules)
        compiled = trainer.train_merges(counter.count_words(texts, split_gpt2), n_merges, **rules)
        assert compiled == merges, (texts, n_merges, rules)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(texts=st.lists(st.text(st.characters(), max_size=40)))
@example(texts=["\ud83d\ude42 \ud800", "\ude42"])
def test_counted_words_of_any_text(pattern: str, texts: list[str]) -> None:
    split = splitter(pattern)
    data, starts, counts = counter.count_words(texts, split)
    words = [data[start:end].tobytes() for start, end in pairwise(starts)]
    assert list(zip(words, counts.tolist(), strict=True)) == list(count_words(texts, split).items())


@needs_machine_code
def test_counted_words_across_the_chunks_of_a_long_text() -> None:
    text = "".join(f"{n * n} wörter, don't{n % 1000}\n\n  " for n in range(20_000))  # 20,000 distinct ones
    long = ["x" * 100_000 + "y", "x" * 100_000, text, "x" * 100_000 + "y"]  # longer than a chunk
    data, starts, counts = counter.count_words(long, split_gpt2)
    words = [data[start:end].tobytes() for start, end in pairwise(starts)]
    assert dict(zip(words, counts.tolist(), strict=True)) == count_words(long, split_gpt2)


def test_pairs_that_occur_equally_often() -> None:
    words = ["ba", "ab", "cd"]
    assert merges_of(words, 3) == [b"ab", b"ba", b"cd"]  # by id
    assert merges_of(words, 3, tie="first") == [b"ba", b"ab", b"cd"]
    assert merges_of(["é!", "é!"], 1) == ["é".encode()[1:] + b"!"]  # ! is 0 and the bytes of é are 162 and 102
    assert merges_of(["aé", "aé"], 1) == [b"a" + "é".encode()[:1]]
    assert merges_of(["aaaa", "bc"], 1) == [b"aa"]  # it occurs three times in a row of four


def test_first_in_a_word_whose_tokens_have_grown() -> None:
    made = merges_of(["ccccdcdcd"], tie="first")
    assert made == [b"cc", b"dc", b"cccc", b"ccccdc", b"ccccdcdc", b"ccccdcdcd"]


def test_min_frequency_ends_training() -> None:
    words = ["abc"] * 3 + ["de"] * 2 + ["fg"]
    assert merges_of(words) == [b"ab", b"abc", b"de", b"fg"]
    assert merges_of(words, min_frequency=2) == [b"ab", b"abc", b"de"]
    assert merges_of(words, min_frequency=4) == []


def test_first_bytes_are_those_that_print() -> None:
    assert bytes_in_order("gpt2")[:2] == [b"!", b'"']
    assert bytes_in_order("gpt2")[188:190] == [b"\0", b"\x01"]
    assert bytes_in_order("gpt2")[220] == b" "  # as in GPT-2's encoder.json
    assert sorted(bytes_in_order("gpt2")) == bytes_in_order("value")


@pytest.mark.parametrize("compiles", [True, False])
def test_a_trained_tokenizer(monkeypatch: pytest.MonkeyPatch, compiles: bool) -> None:
    monkeypatch.setattr(learn, "can_compile", lambda: compiles)
    text = "the cat sat on the mat, the cat sat. " * 3
    tokenizer = BPETokenizer.train(text, vocab_size=260, special_tokens=["<|endoftext|>", "<|pad|>"])
    assert tokenizer.vocab_size == 260
    assert tokenizer.special_tokens == {"<|endoftext|>": 258, "<|pad|>": 259}
    assert [tokenizer.decode_bytes([id]) for id in (0, 255, 256, 257, 258)] == [
        b"!", b"\xad", b"at", b"he", b"<|endoftext|>",
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert BPETokenizer.train([text], vocab_size=260, special_tokens=["<|endoftext|>", "<|pad|>"]).to_dict() == (
        tokenizer.to_dict()
    )


def test_every_merge_there_is_without_a_size() -> None:
    tokenizer = BPETokenizer.train(["low low", "lower"])
    assert [tokenizer.decode_bytes([id]) for id in range(256, tokenizer.vocab_size)] == [b"lo", b"low"]


def test_more_merges_than_pairs() -> None:
    message = "after 3 merges no pair occurs 2 times any more, so the vocabulary has 260 tokens and not 1,000"
    with pytest.warns(UserWarning, match=message):
        tokenizer = BPETokenizer.train("low low low", vocab_size=1000, special_tokens=["<|endoftext|>"])
    assert tokenizer.vocab_size == 260
    with pytest.warns(UserWarning, match="after 0 merges"):
        assert BPETokenizer.train([], vocab_size=257).vocab_size == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 255}, "a vocabulary of 255 tokens is too small: 256 bytes and 0 special tokens take 256"),
        ({"vocab_size": 257, "special_tokens": ["<a>", "<b>"]}, "2 special tokens take 258; give vocab_size 258"),
        ({"special_tokens": ["<a>", "<a>"]}, "none twice"),
        ({"special_tokens": [""]}, "none empty"),
        ({"pattern": "("}, "is no regular expression"),
        ({"tie": "last"}, "unknown tie rule 'last': choose one of id, first"),
    ],
)
def test_what_cannot_be_trained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BPETokenizer.train("text", **arguments)  # type: ignore[arg-type]


def test_too_many_distinct_words_are_refused_and_not_counted_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MOST_BYTES", 5)
    with pytest.raises(UserError, match="the distinct words of the text have 6 bytes, and 5 can be trained on"):
        trainer.train_merges(counter.count_words(["abc def"[:6]], split_gpt2), 1)


@needs_machine_code
@pytest.mark.parametrize("make", [lambda: "a" * 1_000_000, lambda: "abcdefghij" * 100_000])
def test_one_word_of_a_million_characters_can_be_learned_from(make: Callable[[], str]) -> None:
    """In quadratic time this would take hours."""
    tokenizer = BPETokenizer.train(make(), vocab_size=270)
    assert max(map(len, filter(None, tokenizer.vocabulary.tokens))) > 100


@needs_machine_code
def test_memory_grows_with_distinct_words_and_not_with_text() -> None:
    def stream() -> Iterator[str]:
        for _ in range(100):
            yield "the same words in each text, again and again\n" * 5000  # 225 kB

    BPETokenizer.train("warm up", vocab_size=256)
    assert peak_bytes(lambda: BPETokenizer.train(stream(), vocab_size=280)) < 12e6
