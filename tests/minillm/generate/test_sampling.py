"""Probabilities against formulas written out, draws against probabilities."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minillm.errors import UserError
from minillm.generate.sampling import Sampling, keep_likeliest, nucleus_size

rows = arrays(np.float32, array_shapes(max_dims=1, max_side=40), elements=st.floats(-20, 20, width=32))
PROBS = np.array([0.05, 0.4, 0.1, 0.3, 0.15])
LOGITS = np.log(PROBS).astype(np.float32)


def distributions(max_size: int = 40) -> st.SearchStrategy[np.ndarray]:
    weights = st.lists(st.floats(1e-6, 1), min_size=1, max_size=max_size)
    return weights.map(lambda w: np.array(w) / sum(w))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), PROBS),
        (Sampling(temperature=0), [0, 1, 0, 0, 0]),
        # p^(1/T), scaled to add up to one
        (Sampling(temperature=0.5), PROBS**2 / sum(PROBS**2)),
        (Sampling(temperature=2), PROBS**0.5 / sum(PROBS**0.5)),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7, 0]),
        (Sampling(top_k=99), PROBS),
        (Sampling(top_p=0.69), [0, 4 / 7, 0, 3 / 7, 0]),  # 0.4 is less, 0.4 + 0.3 is enough
        (Sampling(top_p=0.71), [0, 40 / 85, 0, 30 / 85, 15 / 85]),
        (Sampling(top_p=1), PROBS),
        (Sampling(temperature=0.5, top_p=0.8), [0, 0.64, 0, 0.36, 0]),  # 0.16 and 0.09 of 0.285 are enough
        (Sampling(top_k=3, top_p=0.8), [0, 4 / 7, 0, 3 / 7, 0]),  # 0.7/0.85 of what top-k left is enough
    ],
)
def test_probabilities_are_those_of_the_formulas(sampling: Sampling, expected: np.ndarray) -> None:
    np.testing.assert_allclose(sampling.probs(LOGITS), expected, atol=1e-7)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(1.5, top_k=4), Sampling(0.7, top_p=0.9), Sampling(2, 4, 0.8)]
)
def test_draws_come_as_often_as_their_probabilities_say(sampling: Sampling) -> None:
    n, rng = 20_000, np.random.default_rng(1)
    counts = np.bincount([sampling.draw(LOGITS, rng) for _ in range(n)], minlength=5)
    expected = n * sampling.probs(LOGITS)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 18.5  # exceeded once in 1,000 seeds at 4 degrees of freedom


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])  # the ends of what Generator.random() gives
@given(probs=distributions())
def test_no_draw_is_out_of_range_or_impossible(probs: np.ndarray, number: float) -> None:
    logits = np.concatenate([[-np.inf], np.log(probs), [-np.inf]])
    token = Sampling().draw(logits, SimpleNamespace(random=lambda: number))  # type: ignore[arg-type]
    assert 1 <= token <= len(probs)


@given(rows, st.integers(0, 9))
def test_greedy_is_argmax(logits: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert Sampling(temperature=0).draw(logits, rng) == Sampling(top_k=1).draw(logits, rng) == logits.argmax()


@given(rows, st.floats(0.01, 100))
def test_probabilities_add_up_to_one_and_keep_the_order(logits: np.ndarray, temperature: float) -> None:
    probs = Sampling(temperature).probs(logits)
    assert probs.dtype == np.float64
    assert math.isclose(probs.sum(), 1, rel_tol=1e-12)
    assert (np.diff(probs[np.argsort(logits, kind="stable")]) >= 0).all()


@given(distributions(), st.floats(0.001, 1))
def test_the_nucleus_is_the_smallest_set_that_reaches_p(probs: np.ndarray, p: float) -> None:
    kept = np.isfinite(keep_likeliest(np.log(probs), nucleus_size(probs, p)))
    rounding = 1e-12
    assert probs[kept].sum() >= p - rounding
    assert probs[kept].sum() - probs[kept].min() < p + rounding  # without its least likely token it falls short
    assert probs[~kept].max(initial=0) <= probs[kept].min() + rounding  # no other set of as many is likelier


@given(distributions(8), st.floats(0.001, 0.999))
def test_no_smaller_set_reaches_p(probs: np.ndarray, p: float) -> None:
    subsets = [[probs[i] for i in range(len(probs)) if mask >> i & 1] for mask in range(1, 2 ** len(probs))]
    fewest = min(len(s) for s in subsets if sum(s) >= p - 1e-12)
    at_most = min((len(s) for s in subsets if sum(s) >= p + 1e-12), default=len(probs))
    assert fewest <= nucleus_size(probs, p) <= at_most


@given(rows, st.integers(1, 50))
def test_top_k_leaves_exactly_k_tokens_even_among_equals(logits: np.ndarray, k: int) -> None:
    probs = Sampling(top_k=k).probs(logits)
    assert (probs > 0).sum() == min(k, len(logits))
    assert logits[probs > 0].min() >= logits[probs == 0].max(initial=-np.inf)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.integers(1, 12))
def test_of_equal_tokens_those_of_lower_ids_are_kept(values: list[int], k: int) -> None:
    kept = keep_likeliest(np.array(values, float), k)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert set(np.flatnonzero(np.isfinite(kept))) == set(order[:k])


def test_extremes_do_not_overflow() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(
            Sampling(temperature=1e-308).probs(np.array([3e38, -3e38, 0], np.float32)), [1, 0, 0]
        )
        np.testing.assert_array_equal(Sampling().probs(np.array([-np.inf, 5.0])), [0, 1])


@pytest.mark.parametrize("logits", [[1, np.nan], [1, np.inf], [-np.inf, -np.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_logits_are_reported(logits: list[float], temperature: float) -> None:
    with pytest.raises(UserError, match="no token can be chosen"):
        Sampling(temperature).draw(np.array(logits), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.01}, r"top_p is 1\.01"),
        ({"top_p": math.nan}, "top_p is nan"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampling(**values)  # type: ignore[arg-type]
