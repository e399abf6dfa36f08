"""A picture of an array: every spike is in it, nothing that is not finite is hidden, and any array has one."""

from __future__ import annotations

import numpy as np
import pytest
from memory import peak_bytes

from autograd.debug.picture import BINS, picture
from autograd.debug.summary import Summary


def by_hand(table: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Block by block: the element of largest magnitude, NaN where one is not finite."""
    rows, columns = min(rows, table.shape[0]), min(columns, table.shape[1])
    cells = np.empty((rows, columns), np.float32)
    tops = [i * table.shape[0] // rows for i in range(rows)] + [table.shape[0]]
    lefts = [j * table.shape[1] // columns for j in range(columns)] + [table.shape[1]]
    for i in range(rows):
        for j in range(columns):
            block = table[tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]].ravel()
            finite = np.isfinite(block).all()
            cells[i, j] = block[np.abs(block).argmax()] if finite else np.nan
    return cells


@pytest.mark.parametrize("shape", [(64, 96), (65, 97), (200, 1000), (3, 5), (1, 500), (130, 1)])
def test_each_cell_has_the_largest_number_of_its_block_with_its_sign(shape: tuple[int, int]) -> None:
    a = np.random.default_rng(0).normal(size=shape)
    p = picture(a)
    assert p.cells.dtype == np.float32
    np.testing.assert_array_equal(p.cells, by_hand(a, 64, 96))


def test_a_single_spike_survives_a_million_numbers_around_it() -> None:
    a = np.random.default_rng(1).normal(size=(1000, 1000))
    a[777, 123] = -50
    p = picture(a)
    assert p.cells.shape == (64, 96)
    assert p.cells.min() == p.low == -50
    assert np.argwhere(p.cells == -50).tolist() == [[777 * 64 // 1000, 123 * 96 // 1000]]


def test_leading_axes_are_folded_into_rows() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    p = picture(a, rows=6, columns=4)
    np.testing.assert_array_equal(p.cells, a.reshape(6, 4))
    assert (p.shape, p.dtype) == ((2, 3, 4), "float64")
    assert picture(a, rows=2, columns=4).cells.tolist() == [[8, 9, 10, 11], [20, 21, 22, 23]]


def test_a_number_that_is_not_finite_makes_its_cell_nan_and_leaves_range_and_histogram() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        a = np.arange(12, dtype=np.float32).reshape(3, 4)
        a[1, 2] = bad
        p = picture(a)
        assert np.argwhere(np.isnan(p.cells)).tolist() == [[1, 2]]
        assert (p.low, p.high, p.histogram.sum()) == (0, 11, 11)
        assert p.summary.n_nan + p.summary.n_inf == 1
        assert np.isnan(picture(a, rows=1, columns=1).cells).all()


def test_the_histogram_counts_what_numpy_s_does() -> None:
    a = np.random.default_rng(2).normal(size=(50, 40))
    expected, _ = np.histogram(a, BINS)
    assert np.abs(picture(a).histogram - expected).max() <= 1  # on an edge, rounding decides
    assert picture(a).histogram.sum() == a.size


def test_a_large_array_is_counted_whole_in_little_memory() -> None:
    a = np.random.default_rng(3).uniform(size=(700, 1000)).astype(np.float32)
    assert peak_bytes(lambda: picture(a.T)) < 2 * a.nbytes
    p = picture(a.T)
    assert p.histogram.sum() == a.size
    np.testing.assert_allclose(p.histogram, a.size / BINS, rtol=0.05)
    np.testing.assert_array_equal(p.cells, by_hand(a.T, 64, 96))


@pytest.mark.parametrize(
    ("array", "cells", "low", "high"),
    [
        (np.array(2.5, np.float32), [[2.5]], 2.5, 2.5),
        (3.0, [[3]], 3, 3),
        (np.array([3, -7, 2]), [[3, -7, 2]], -7, 3),
        (np.array([[0, 255]], np.uint8), [[0, 255]], 0, 255),
        (np.array([True, False]), [[1, 0]], 0, 1),
        (np.array([3 + 4j]), [[5]], 5, 5),
        (np.zeros((2, 3)), [[0, 0, 0], [0, 0, 0]], 0, 0),
    ],
)
def test_every_kind_of_array_and_a_number_has_a_picture(
    array: object, cells: list[list[float]], low: float, high: float
) -> None:
    p = picture(array)
    assert p.cells.tolist() == cells
    assert (p.low, p.high) == (low, high)
    assert p.histogram.shape == (BINS,)
    assert p.summary == Summary.of(array)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_an_array_of_nothing_has_an_empty_picture(shape: tuple[int, ...]) -> None:
    p = picture(np.zeros(shape))
    assert (p.cells.size, p.low, p.high, p.histogram.sum()) == (0, 0, 0, 0)


def test_equal_numbers_lie_in_the_middle_of_the_histogram() -> None:
    assert np.flatnonzero(picture(np.full((4, 4), 0.25)).histogram).tolist() == [BINS // 2]


def test_numbers_a_rounding_apart_and_numbers_as_large_as_there_are_have_histograms() -> None:
    near = picture(np.array([1.0, 1.0, 1 + 2**-52]))
    assert (near.histogram[0], near.histogram[-1]) == (2, 1)
    most = np.finfo(np.float64).max
    far = picture(np.array([-most, 0, most]))
    assert (far.histogram[0], far.histogram[BINS // 2], far.histogram[-1]) == (1, 1, 1)
    assert np.isfinite(far.cells).all()
