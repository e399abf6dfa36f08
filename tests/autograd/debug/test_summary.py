"""A summary tells the truth of any array: of every dtype and shape, with NaNs, too large to square, or empty."""

import math

import numpy as np
import pytest
from memory import peak_bytes

from autograd.debug.summary import Summary


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64, bool])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (), (2, 3, 4)])
def test_its_numbers_are_numpy_s_for_every_dtype_and_shape(dtype, shape):
    a = np.asarray(np.random.default_rng(0).normal(size=shape) * 50 + 60).astype(dtype)
    s, wide = Summary.of(a), a.astype(np.float64)
    assert (s.shape, s.dtype, s.n_nan, s.n_inf) == (shape, str(a.dtype), 0, 0)
    assert (s.min, s.max) == (wide.min(), wide.max())
    np.testing.assert_allclose((s.norm, s.mean, s.std), (np.linalg.norm(wide.ravel()), wide.mean(), wide.std()))
    assert s.first == tuple(wide.ravel()[:5])


def test_an_array_of_many_parts_that_is_a_transposed_view_gives_the_numbers_of_the_whole():
    a = np.random.default_rng(1).normal(3, 2, (7, 300, 200)).transpose(2, 0, 1)
    s = Summary.of(a)
    np.testing.assert_allclose((s.norm, s.mean, s.std), (np.linalg.norm(a), a.mean(), a.std()), rtol=1e-12)
    assert (s.min, s.max, s.first) == (a.min(), a.max(), tuple(a.ravel()[:5]))


def test_a_large_mean_does_not_swallow_the_spread():
    a = np.random.default_rng(2).normal(1e8, 1, 100_000)
    assert Summary.of(a).std == pytest.approx(a.std(), rel=1e-6)


def test_numbers_that_are_not_finite_are_counted_and_left_out():
    s = Summary.of(np.array([np.nan, 3, np.inf, -4, -np.inf, np.nan], np.float32))
    assert (s.n_nan, s.n_inf, s.norm, s.min, s.max, s.mean, s.std) == (2, 2, 5, -4, 3, -0.5, 3.5)
    assert str(s) == "(6,) float32, 2 nan, 2 inf, norm 5, -0.5 +- 3.5 in [-4, 3]"


def test_nothing_finite_and_nothing_at_all_give_nan():
    for a, text in ((np.full(2, np.nan), "(2,) float64, 2 nan"), (np.ones((0, 3)), "(0, 3) float64, empty")):
        s = Summary.of(a)
        assert all(math.isnan(x) for x in (s.norm, s.min, s.max, s.mean, s.std))
        assert str(s) == text


def test_numbers_too_large_or_too_small_to_square_have_a_norm():
    assert Summary.of(np.array([3e200, 4e200])).norm == pytest.approx(5e200)
    assert Summary.of(np.array([3e-200, 4e-200])).norm == pytest.approx(5e-200)


def test_complex_numbers_count_by_their_magnitude():
    s = Summary.of(np.array([3 + 4j, 0, np.nan * 1j]))
    assert (s.norm, s.min, s.max, s.mean, s.n_nan) == (5, 0, 5, 2.5, 1)
    assert s.first[:2] == (3 + 4j, 0)


def test_a_number_is_a_scalar():
    assert str(Summary.of(2.5)) == "() float64, norm 2.5, 2.5 +- 0 in [2.5, 2.5]"


def test_it_takes_little_memory_however_large_the_array_is():
    a = np.ones((512, 4096), np.float32).T
    Summary.of(a[:2])
    assert peak_bytes(lambda: Summary.of(a)) < 1 << 20 < a.nbytes
