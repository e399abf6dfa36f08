"""A bug in a user's own layer is found and rightly named, and the same layer without it passes."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import planted_bugs
import pytest
from planted_bugs import PLANTED, Planted

from autograd.gradcheck import GradcheckError, gradcheck

SEEDS = range(3)


def sizes(rng: np.random.Generator) -> Callable[[int, int], int]:
    return lambda low, high: int(rng.integers(low, high + 1))


@pytest.fixture(params=PLANTED)
def planted(request: pytest.FixtureRequest) -> Planted:
    return PLANTED[request.param]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_right_layer_passes(planted: Planted, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = planted.inputs(sizes(rng), rng)
    report = gradcheck(planted.right, inputs, planted.attributes, laws=planted.laws, dtype=dtype, seed=seed)
    assert all(row.checked for row in report.rows)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bug_is_found_and_named(planted: Planted, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = planted.inputs(sizes(rng), rng)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(planted.wrong, inputs, planted.attributes, laws=planted.laws, dtype=dtype, seed=seed)
    report = caught.value.report
    assert report is not None
    assert [row.name for row in report.rows if row.failure] == planted.wrong_in
    assert re.search(planted.told, str(caught.value)), str(caught.value)


def test_a_mask_that_is_late_in_forward_and_backward_passes_every_oracle() -> None:
    late = PLANTED["a mask after softmax, in forward and backward"]
    rng = np.random.default_rng(0)
    gradcheck(late.wrong, late.inputs(sizes(rng), rng))  # so the law is needed


def test_text_that_is_not_there_is_no_bug() -> None:
    with pytest.raises(AssertionError, match="is not once in softmax"):
        planted_bugs.changed(planted_bugs.softmax, ("no such text", ""))
