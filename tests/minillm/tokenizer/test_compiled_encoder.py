"""The compiled encoder against the reference, and against tiktoken where it is installed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autograd import jit
from minillm.data import read_corpus
from minillm.errors import UserError
from minillm.tokenizer import BPETokenizer, bpe
from minillm.tokenizer.compiled import encoder, scan, words
from minillm.tokenizer.compiled.encoder import Encoder
from minillm.tokenizer.merging import merge_word
from minillm.tokenizer.split import PATTERNS, split_gpt2, splitter
from minillm.tokenizer.training import bytes_in_order, count_words, train_merges
from minillm.tokenizer.unicode_classes import N_CODE_POINTS, SPACE, unicode_classes
from minillm.tokenizer.vocabulary import Vocabulary

# hashes wrap, which as Python NumPy warns of
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")
needs_machine_code = pytest.mark.skipif(not jit.ENABLED, reason="AUTOGRAD_JIT=0: minutes in Python loops")
GPT2 = Path(__file__).resolve().parents[4] / "shared" / "data" / "gpt2"

SURROGATES = range(0xD800, 0xE000)
pieces = st.sampled_from(
    [*" \n\t\r\x0b\x1c\x1f'sdmtlvre1A!é中🙂\x85\u00a0\u3000\u2028", "'ll", "'re", "  ", "the", "<|endoftext|>"]
)
runs = st.builds(lambda piece, n: piece * n, pieces, st.sampled_from([2, 3, 7, 16, 17, 63, 64, 65, 255, 256, 300]))
symbols = st.characters(exclude_categories=["Cs"])  # no surrogates
texts = st.lists(pieces | runs | symbols | st.text(max_size=5), max_size=30).map("".join)


def trained(n_merges: int) -> Vocabulary:
    merges = train_merges(
        count_words([read_corpus().text[:100_000], "naïve 你好吗 中 🙂🙂  ---- aaaa " * 900], split_gpt2), n_merges
    )
    tokens = bytes_in_order("gpt2")
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return Vocabulary(tokens, merges)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return trained(600 if jit.ENABLED else 100)


@pytest.fixture(scope="module")
def compiled(vocabulary: Vocabulary) -> Encoder:
    return Encoder(vocabulary)


def reference(text: str, vocabulary: Vocabulary, pattern: str = "gpt2") -> list[int]:
    return [id for word in splitter(pattern)(text) for id in merge_word(word.encode(), vocabulary)]


def words_of(text: str) -> list[str]:
    """The words that the kernel finds."""
    found = scan.Words()
    n_words = found.find(text)
    starts = found.starts[: n_words + 1].tolist()
    return [bytes(found.data[a:b]).decode() for a, b in pairwise(starts)]


@given(text=texts)
@example(text="'s'll's 'd'mm''ve'r're're")
@example(text="a \u3000\u3000b\u00a0 \n c  ")
def test_words_are_the_references(text: str) -> None:
    assert words_of(text) == split_gpt2(text)


def test_every_border_between_classes_of_characters() -> None:
    """The code points on both sides of each change of class, next to a letter, a number, spaces and themselves."""
    classes = unicode_classes()
    firsts = np.flatnonzero(np.diff(classes, prepend=9))
    if not jit.ENABLED:
        firsts = firsts[::50]
    borders = sorted({*firsts.tolist(), *(firsts - 1).tolist(), N_CODE_POINTS - 1} - {-1, *SURROGATES})
    text = "".join(f"a{c}1{c}{c} {c}\n{c}  {c}'s{c}'" for c in map(chr, borders))
    assert words_of(text) == split_gpt2(text)


def test_what_ends_a_chunk_is_a_space() -> None:
    assert all(chr(code_point).isspace() for code_point in np.flatnonzero(unicode_classes() == SPACE))


@given(text=texts)
def test_tokens_are_the_references(vocabulary: Vocabulary, compiled: Encoder, text: str) -> None:
    ids = compiled.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == reference(text, vocabulary)
    assert compiled.encode(text).tolist() == ids.tolist()  # now that it has met the words
    assert b"".join(vocabulary.tokens[id] or b"" for id in ids) == text.encode()


@pytest.mark.parametrize("length", [1, 8, 9, 15, 16, 17, 24, 63, 64, 65, 200, 254, 255, 256, 257, 1000])
def test_words_of_any_length(vocabulary: Vocabulary, compiled: Encoder, length: int) -> None:
    """Each length once of one letter, and several that differ in one byte only."""
    rng = random.Random(length)
    word = "".join(rng.choice("aeinorst") for _ in range(length))
    places = sorted({0, length // 2, length - 1, max(length - 8, 0), min(8, length - 1)})
    others = [word[:place] + "z" + word[place + 1 :] for place in places]
    text = " ".join(["e" * length, word, *others, word])
    for _ in range(2):
        assert compiled.encode(text).tolist() == reference(text, vocabulary)


def test_words_that_differ_in_zeros_at_their_end(vocabulary: Vocabulary, compiled: Encoder) -> None:
    for text in ("! !\0 !\0\0 ! !\0", "\0\0\0 \0\0 \0"):
        assert compiled.encode(text).tolist() == reference(text, vocabulary)


def test_different_words_of_the_same_hash(vocabulary: Vocabulary, compiled: Encoder) -> None:
    """The second word's bytes 8 to 15 make up for what its first 8 did to the hash."""
    length, first, second, middle = (
        np.uint64(n) for n in (24, 0x6161616161616161, 0x6F69746172656E6F, 0x7473726E6F696561)
    )
    mixed = words.mixed.python
    made_up = middle ^ mixed(length ^ first) ^ mixed(length ^ second)
    pair = [np.array([first, middle, first]).tobytes(), np.array([second, made_up, first]).tobytes()]
    worker = compiled._take()
    for _ in range(2):
        ids = worker.encode(worker.words.put(pair)).tolist()
        assert ids == [id for word in pair for id in merge_word(word, vocabulary)]


def test_a_text_in_chunks_is_the_same_wherever_it_is_cut(
    vocabulary: Vocabulary, compiled: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "It's  here:\n\n  naïve\u3000\u3000 x 你好\u3000\nwe'll 'll   \u2028 \n 🙂🙂\x1c \x1c\n'"
    expected = reference(text, vocabulary)
    for size in range(1, len(text) + 2):
        monkeypatch.setattr(scan, "CHUNK", size)
        parts = list(scan.chunks(text))
        assert "".join(parts) == text
        assert compiled.encode(text).tolist() == expected
    assert len(parts) == 1


@needs_machine_code
def test_a_memory_that_is_full_begins_again(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "LEAST_SLOT_BITS", 1)
    rng = random.Random(0)
    compiled, alphabet = Encoder(vocabulary), "aeinorstxyz"
    filled = []
    for length in (6, 15, 30):  # the last ones fill the arena
        for _ in range(12):
            text = " ".join("".join(rng.choices(alphabet, k=rng.randint(length - 3, length))) for _ in range(1500))
            assert compiled.encode(text).tolist() == reference(text, vocabulary)
            filled.append(compiled._idle[0].memory.state.tolist())
    for kind in (words.N_SHORT, words.ARENA_USED):
        assert any(now[kind] < before[kind] for before, now in pairwise(filled))


@pytest.mark.parametrize("n_merges", [0, 1, 5])
def test_small_vocabularies(n_merges: int) -> None:
    vocabulary = trained(n_merges)
    text = "The  theatre's 你好 " + "e" * 70
    assert Encoder(vocabulary).encode(text).tolist() == reference(text, vocabulary)


def test_tokens_that_merges_reach_in_several_ways_or_not_at_all() -> None:
    tokens: list[bytes | None] = [bytes([byte]) for byte in range(256)]
    a, b, c = (ord(letter) for letter in "abc")
    tokens += [None, b"bc", b"ab", b"abc", b"never made", b"aa"]
    vocabulary = Vocabulary(tokens, [(a, 257), (258, c), (b, c), (a, b), (a, a), (259, 259)][:5])
    compiled = Encoder(vocabulary)
    for text in ("abc", "ab", "bc", "never made", "abcabc", "aaaa", "aabcaab", "a" * 99, "abc" * 30):
        assert compiled.encode(text).tolist() == reference(text, vocabulary)


@pytest.mark.parametrize("pattern", ["cl100k", r"\p{L}*|\s"])
@given(text=texts)
def test_words_of_another_pattern(vocabulary: Vocabulary, pattern: str, text: str) -> None:
    assert _of_pattern(vocabulary, pattern).encode(text).tolist() == reference(text, vocabulary, pattern)


_encoders: dict[str, Encoder] = {}


def _of_pattern(vocabulary: Vocabulary, pattern: str) -> Encoder:
    if pattern not in _encoders:
        _encoders[pattern] = Encoder(vocabulary, splitter(pattern))
    return _encoders[pattern]


def test_surrogates(compiled: Encoder) -> None:
    assert compiled.encode("\ud83d\ude42 a\udc80").tolist() == compiled.encode("🙂 a\ufffd").tolist()


def test_nothing(compiled: Encoder) -> None:
    assert compiled.encode("").tolist() == []
    assert compiled.encode_batch([], 2) == []
    assert [ids.tolist() for ids in compiled.encode_batch(["", "a", ""], 2)] == [[], [ord("a") - ord("!")], []]


@needs_machine_code
def test_threads_get_what_one_gets(vocabulary: Vocabulary) -> None:
    code = read_corpus().text
    some = [code[:300_000], "", *code[300_000:320_000].split("\n"), code[320_000:400_000]]
    alone = Encoder(vocabulary)
    expected = [alone.encode(text) for text in some]
    for n_threads in (1, 2, 3):
        for ids, right in zip(alone.encode_batch(some, n_threads), expected, strict=True):
            np.testing.assert_array_equal(ids, right)
    shared = Encoder(vocabulary)
    with ThreadPoolExecutor(4) as pool:  # each its own call of the one encoder
        for ids, right in zip(pool.map(shared.encode, some), expected, strict=True):
            np.testing.assert_array_equal(ids, right)
    other = Encoder(vocabulary, splitter("cl100k"))
    cl100k = [other.encode(text).tolist() for text in some]
    with ThreadPoolExecutor(4) as pool:
        encode = Encoder(vocabulary, splitter("cl100k")).encode_batch
        for batch in pool.map(lambda _: encode(some, 2), range(4)):
            assert [ids.tolist() for ids in batch] == cl100k


def test_the_tokenizer_uses_it_where_kernels_are_compiled(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = len(vocabulary.tokens)
    some = ["The theatre<|end|> naïve", "", "<|end|><|end|>", " 你好"]
    expected = [
        [*reference("The theatre", vocabulary), end, *reference(" naïve", vocabulary)],
        [],
        [end, end],
        reference(" 你好", vocabulary),
    ]
    for compiles in (jit.ENABLED, False):
        monkeypatch.setattr(bpe, "can_compile", lambda compiles=compiles: compiles)
        tokenizer = BPETokenizer(vocabulary, special_tokens={"<|end|>": end})
        assert (tokenizer._encoder is not None) == compiles
        assert [tokenizer.encode(text, allowed_special="all").tolist() for text in some] == expected
        for n_threads in (1, 2, None):
            batch = tokenizer.encode_batch(iter(some), allowed_special="all", n_threads=n_threads)
            assert [ids.tolist() for ids in batch] == expected
        with pytest.raises(UserError, match="which is not allowed"):
            tokenizer.encode_batch(some)
        with pytest.raises(UserError, match="n_threads is 0: give 1 or more"):
            tokenizer.encode_batch(some, n_threads=0)


@needs_machine_code
@pytest.mark.parametrize("alphabet", ["a", "-", " ", "aeinorst", "中"])
def test_a_million_characters_without_a_cut_are_encoded(compiled: Encoder, alphabet: str) -> None:
    """In quadratic time this would take hours; benchmarks/tokenizer measures it."""
    ids = compiled.encode("".join(random.Random(0).choices(alphabet, k=1_000_000)))
    assert 0 < len(ids) < 1_000_000 * len(alphabet[0].encode())
    assert all(len(idle._ids) < 1 << 23 for idle in compiled._idle)  # buffers of such a size are not kept


@pytest.fixture(scope="module")
def gpt2() -> tuple[Encoder, Any]:
    """The compiled encoder with GPT-2's vocabulary, and tiktoken's."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is an optional peer")
    load = pytest.importorskip("tiktoken.load")
    if not GPT2.exists():
        pytest.skip("needs ../shared/data/gpt2 beside the repository")
    ranks = load.data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(GPT2 / "vocab.bpe"), encoder_json_file=str(GPT2 / "encoder.json")
    )
    peer = tiktoken.Encoding("gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    tokens = sorted(ranks, key=ranks.__getitem__)
    printable = dict(zip(map(chr, _gpt2_symbols()), bytes_in_order("gpt2"), strict=True))
    lines = (GPT2 / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    halves = ([b"".join(printable[symbol] for symbol in half) for half in line.split()] for line in lines)
    return Encoder(Vocabulary(tokens, [(ranks[left], ranks[right]) for left, right in halves])), peer


def _gpt2_symbols() -> list[int]:
    """The code points that stand for bytes in GPT-2's files: printable bytes for themselves, others from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return visible + list(range(256, 256 + 256 - len(visible)))


@needs_machine_code
@given(text=texts)
def test_gpt2_is_tiktokens(gpt2: tuple[Encoder, Any], text: str) -> None:
    compiled, peer = gpt2
    assert compiled.encode(text).tolist() == peer.encode_ordinary(text)


@needs_machine_code
def test_gpt2_of_a_corpus_is_tiktokens(gpt2: tuple[Encoder, Any]) -> None:
    compiled, peer = gpt2
    code = read_corpus().text
    assert compiled.encode(code).tolist() == peer.encode_ordinary(code)
    rng = random.Random(0)
    code_points = rng.sample([c for c in range(N_CODE_POINTS) if c not in SURROGATES], 20_000)
    symbols = "".join(f"{c} a{c}{c}1{c}\n" for c in map(chr, code_points))
    assert compiled.encode(symbols).tolist() == peer.encode_ordinary(symbols)
