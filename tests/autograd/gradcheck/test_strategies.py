"""The strategies: every nasty case is reached in every profile, and what fails is told in the simplest form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autograd.gradcheck.strategies import (
    DTYPES,
    LAYOUTS,
    VALUES,
    Arrays,
    arrays,
    choices,
    given_edges,
    lay_out,
    sizes,
)

DESCRIPTIONS = arrays().strategy
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(description=DESCRIPTIONS, shape=SHAPES)
def test_a_description_says_all(description: Arrays, shape: tuple[int, ...]) -> None:
    """Its repr makes the same arrays, of the shapes and the dtype that were asked for, and none can be written to."""
    again = eval(repr(description))
    for x, y in zip(description.make(shape, (2, 3)), again.make(shape, (2, 3)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.strides == y.strides
        assert x.dtype == description.dtype
        assert not x.flags.writeable
        assert np.isfinite(x).all()
    assert description.make(shape)[0].shape == shape


def test_layouts_are_what_they_say() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    laid = {layout: lay_out(x, layout) for layout in LAYOUTS}
    for layout in ("C", "F", "strided", "reversed"):
        np.testing.assert_array_equal(laid[layout], x)
    assert laid["C"].flags.c_contiguous
    assert laid["F"].flags.f_contiguous
    assert laid["strided"].strides == (2 * 6 * 8 * 8, 2 * 8 * 8, 2 * 8)
    assert np.isnan(laid["strided"].base).sum() == 7 * 24  # a read between the elements shows
    assert laid["reversed"].strides == (-96, -32, -8)
    assert laid["broadcast"].strides[0] == 0
    np.testing.assert_array_equal(laid["broadcast"], np.stack([x[0], x[0]]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_shape_can_be_laid_out(layout: str) -> None:
    for shape in ((), (0,), (1,), (2, 0, 3), (1, 1, 1)):
        for x in (np.ones(shape), np.ones(shape, np.int64), np.ones(shape, bool)):
            y = lay_out(x, layout)
            assert isinstance(y, np.ndarray)
            np.testing.assert_array_equal(y, x)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no memory layout 'A': choose one of C, F"):
        Arrays(layout="A").make((2,))
    with pytest.raises(ValueError, match="no kind of values 'huge': choose one of normal, ties"):
        Arrays(values="huge").make((2,))


@given(seed=st.integers(0, 2**32 - 1))
def test_values_are_what_they_say(seed: int) -> None:
    made = {values: Arrays(values=values, seed=seed).make((4, 25))[0] for values in VALUES}
    assert len(np.unique(made["normal"])) == 100
    assert len(np.unique(made["ties"])) == 3
    assert 0 < (made["zeros"] == 0).sum() < 100
    assert np.signbit(made["zeros"][made["zeros"] == 0]).any()  # zeros of either sign
    assert len(np.unique(made["equal"])) == 1
    assert set(np.unique(made["large"])) == {-1e4, 1e4}


@given(description=DESCRIPTIONS, shape=SHAPES, below=st.integers(1, 9))
def test_ids_repeat(description: Arrays, shape: tuple[int, ...], below: int) -> None:
    ids = description.ids(shape, below)
    assert ids.shape == shape
    assert ((ids >= 0) & (ids < below)).all()
    if ids.size > 1:
        assert len(np.unique(ids)) < ids.size
    if description.values == "equal" and ids.size:
        assert len(np.unique(ids)) == 1


@given(description=DESCRIPTIONS, shape=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple))
def test_masks_have_a_row_of_false(description: Arrays, shape: tuple[int, ...]) -> None:
    mask = description.mask(shape)
    assert (mask.shape, mask.dtype) == (shape, bool)
    if description.values == "zeros":
        assert not mask.any()
    else:
        assert (~mask).all(-1).any() == (np.prod(shape[:-1]) > 1)


# --- what a decorated test is run with --------------------------------------------------------------------------------


def calls_of(max_examples: int) -> list[dict[str, Any]]:
    """What a test with three kinds of arguments is handed."""
    seen = []

    @settings(max_examples=max_examples, database=None, deadline=None)
    @given_edges(B=sizes(3), T=sizes(4), causal=choices(True, False), arrays=arrays())
    def collect(**arguments: Any) -> None:
        seen.append(arguments)

    collect()
    return seen


def test_every_nasty_case_is_reached_however_few_draws_there_are() -> None:
    seen = calls_of(max_examples=1)
    ordinary = {"B": 2, "T": 2, "causal": True, "arrays": Arrays()}
    assert {**ordinary, "B": 1, "T": 1} in seen
    nasty: list[dict[str, Any]] = [{}, {"B": 1}, {"T": 1}, {"causal": False}]
    nasty += [{"arrays": Arrays(layout=layout)} for layout in LAYOUTS]
    nasty += [{"arrays": Arrays(values=values)} for values in VALUES]
    nasty += [{"arrays": Arrays(dtype=dtype)} for dtype in DTYPES]
    for case in nasty:
        assert {**ordinary, **case} in seen
    assert len(seen) <= 16


def test_draws_come_on_top() -> None:
    drawn = [call["arrays"] for call in calls_of(max_examples=50)][16:]
    assert len({(a.layout, a.values, a.dtype) for a in drawn}) > 10


def note_of(test: Any, *args: Any) -> str:
    with pytest.raises(AssertionError, match="wrong") as caught:
        test(*args)
    (note,) = [note for note in caught.value.__notes__ if note.startswith("The simplest")]
    return str(note)


def test_a_nasty_case_that_fails_is_made_as_simple_as_it_goes() -> None:
    @given_edges(B=sizes(5), T=sizes(5), arrays=arrays())
    def wrong(B: int, T: int, arrays: Arrays) -> None:
        assert not (T >= 2 and arrays.layout == "strided"), "wrong"

    assert note_of(wrong) == (
        "The simplest case that fails: wrong(B=1, T=2, "
        "arrays=Arrays(layout='strided', values='normal', dtype='float64', seed=0))"
    )


def test_only_the_same_error_counts_while_a_case_is_made_simpler() -> None:
    @given_edges(B=sizes(2), causal=choices(True, False))
    def wrong(B: int, causal: bool) -> None:
        if B == 1 and not causal:
            raise TypeError("another error")
        assert causal, "wrong"

    assert note_of(wrong) == "The simplest case that fails: wrong(B=2, causal=False)"


def test_fixtures_and_parameters_of_pytest_pass_through() -> None:
    @given_edges(B=sizes(2))
    def wrong(table: dict[int, bool], B: int) -> None:
        assert table[B], "wrong"

    assert note_of(wrong, {1: True, 2: False}) == "The simplest case that fails: wrong(B=2)"


@given_edges(B=sizes(9))
def test_an_assumption_skips_a_nasty_case(B: int) -> None:
    assume(B > 1)
    assert B > 1


def test_profiles() -> None:
    dev, ci = settings.get_profile("dev"), settings.get_profile("ci")
    assert dev.max_examples < ci.max_examples
    assert ci.derandomize
    assert ci.print_blob
    assert dev.deadline is None
    assert ci.deadline is None
