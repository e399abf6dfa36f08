"""Philox against Random123's known answers, and the error function against the C library's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import Stream, random
from autograd.ops.special import erf_forward
from autograd.random import philox4x32, random_bits


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123 1.14, tests/kat_vectors, philox4x32 10
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers(counter: str, key: str, words: str) -> None:
    c0, c1, c2, c3 = (np.array([int(word, 16)], np.uint64) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    assert [f"{int(word[0]):08x}" for word in philox4x32((c0, c1, c2, c3), (k0, k1))] == words.split()


def test_bits_are_the_words_of_consecutive_blocks() -> None:
    seed, call = 0xA4093822_13198A2E, 0x03707344_85A308D3
    bits = random_bits((3, 3), (seed, call), np.zeros(0)).ravel()
    for i in range(9):
        counter = (i // 4, 0, call & 0xFFFFFFFF, call >> 32)
        words = philox4x32(tuple(np.array([c], np.uint64) for c in counter), (seed & 0xFFFFFFFF, seed >> 32))  # type: ignore[arg-type]
        assert bits[i] == words[i % 4][0]


def test_bits_are_the_same_in_whatever_pieces_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_bits((5, 11), (1, 2), np.zeros(0))
    monkeypatch.setattr(random, "PIECE", 4)
    np.testing.assert_array_equal(random_bits((5, 11), (1, 2), np.zeros(0)), whole)


@given(seed=st.integers(0, 2**64 - 1), calls=st.integers(0, 2**64 - 2))
def test_a_stream_counts_its_draws(seed: int, calls: int) -> None:
    stream = Stream(seed, calls)
    assert (stream.next_key(), stream.calls) == ((seed, calls), calls + 1)


def test_bits_are_uniform() -> None:
    bits = random_bits((100_000,), (1, 2), np.zeros(0))
    counts = np.bincount((bits >> 28).astype(int), minlength=16)  # by the upper 4 bits
    chi2 = ((counts - 6250) ** 2 / 6250).sum()
    assert chi2 < 37.7  # 99.9 % quantile for 15 degrees of freedom


def test_erf_is_within_an_ulp_of_the_c_library() -> None:
    x = np.concatenate((np.linspace(-6.5, 6.5, 20_001), 10.0 ** np.arange(-300, 0, 10), [0.84375, 1.25, 1 / 0.35, 6.0]))
    expected = np.array([math.erf(v) for v in x])
    assert (np.abs(erf_forward(x)[0] - expected) / np.spacing(np.abs(expected))).max() <= 2


def test_erf_at_the_ends() -> None:
    y, _ = erf_forward(np.array([-np.inf, np.inf, np.nan, -0.0]))
    np.testing.assert_array_equal(y, [-1, 1, np.nan, 0])


def test_erf_of_float32_stays_close() -> None:
    x = np.linspace(-5, 5, 2001, dtype=np.float32)
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(erf_forward(x)[0], expected, rtol=1e-6, atol=1e-7)
