"""Each bug of attention_bugs.py and layer_bugs.py is called by its name, and nothing else is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import attention_bugs  # noqa: F401  # importing it registers its bugs
import layer_bugs  # noqa: F401  # so does this
import numpy as np
import pytest
from cases import CASES
from cases import Case as OpCase
from gradient_bugs import BUGS, Case, evidence
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autograd.backends import Array
from autograd.gradcheck.diagnosis import Evidence, Kind, diagnose

# each element of y depends on the parameter in two ways: only statistics tell that one is not counted
STATISTICAL = {"gate_not_counted"}
# so it is with these where the response to each element of dy was not measured
WITHOUT_RESPONSES = {
    "tied_weight_without_the_embedding",
    "tied_weight_without_the_head",
    "residual_branch_not_counted",
    *STATISTICAL,
}
# and these are then not told at all
HIDDEN = {"dk_not_masked", "dv_not_masked", "mask_after_softmax_left_out", "softmax_summed_over_a_wrong_axis"}


@pytest.mark.parametrize("name", BUGS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_each_bug_is_recognised(name: str, data: st.DataObject) -> None:
    kind, make = BUGS[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    found = evidence(make(lambda low, high: data.draw(st.integers(low, high)), rng), rng)
    assume(found is not None)
    assert found is not None
    assume(found.numeric.any())  # y may happen not to depend on it at all: every element dropped
    diagnosis = diagnose(found)
    assert diagnosis.kind in {kind, "unknown" if name in STATISTICAL else kind}, diagnosis.sentence


@pytest.mark.parametrize("name", sorted(BUGS.keys() - HIDDEN))
def test_each_bug_is_recognised_without_the_responses(name: str) -> None:
    """The share of right diagnoses over random shapes where `analytic_terms` is left out."""
    kind, make = BUGS[name]
    kinds: Counter[Kind] = Counter()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = evidence(make(lambda low, high, rng=rng: int(rng.integers(low, high + 1)), rng), rng, responses=False)
        if found is not None and found.numeric.any():
            kinds[diagnose(found).kind] += 1
    assert kinds[kind] >= kinds.total() * (0.4 if name in WITHOUT_RESPONSES else 1), kinds
    assert set(kinds) <= {kind, "unknown"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dk_transposed_where_it_fits", r"gradient with axes -2 and -1 swapped$"),
        (
            "packed_dk_transposed",
            r"axes -3 and -1 swapped, its last axis split into heads of 3 in .*the second third of the last axis",
        ),
        (
            "packed_dk_heads_not_put_back",
            r"axes -3 and -2 swapped and reshaped, its last axis split into heads of 3 in ",
        ),
        ("packed_dk_zero", r"is zero in .*the second third of the last axis"),
        ("packed_dk_without_the_scale", r"1\.73205 = sqrt\(3\)"),
        ("embedding_overwrites", r"the contribution of the last of the rows"),
        ("layernorm_without_its_rstd_term", r"proportional to x - mean\(x\) in each line along axis -1$"),
        ("layernorm_without_its_mean_term", r"constant along axis -1"),
        ("layernorm_without_both_terms", r"proportional to a constant plus x - mean"),
        ("bias_not_summed_over_time", r"missing sum over axis 0"),
        ("bias_not_summed", r"missing sum over axis 0"),
        ("bias_of_the_first_row", r"only the first index of y's axis 0 is counted"),
        ("bias_summed_over_the_wrong_axis", r"over axes \(0,\) of dy: it sums over \(1,\)"),
        ("linear_with_weight_transposed", r"dy times weight's transpose where weight belongs"),
        ("product_without_the_other_factor", r"multiplied by weight it is right"),
        ("dropout_scales_only_forward", r"it is 0\.(9 = 9/10|75 = 3/4|5 = 1/2)"),
        ("tied_weight_without_the_embedding", r"in \d of its 5 rows .* one of two uses of a tied weight"),
        ("padding_masked_after_softmax_in_backward", r"a mask applied after the softmax and not before it"),
        ("softmax_summed_over_a_wrong_axis", r"a wrong axis\?$"),
    ],
)
def test_where_a_sentence_leads(name: str, words: str) -> None:
    _, make = BUGS[name]
    rng = np.random.default_rng(1)
    found = evidence(make(lambda low, high: max(low, min(3, high)), rng), rng)
    assert found is not None
    assert re.search(words, diagnose(found).sentence), diagnose(found).sentence


@pytest.mark.parametrize("case", [case for case in CASES if case.analytic], ids=str)
def test_every_op_with_a_plain_bug(case: OpCase) -> None:
    """Each op's right gradient with its sign turned, scaled, or zeroed, for every shape of the table of cases."""
    inputs = case.make()
    wanted = {f"x{i}": i for i in case.wrt(inputs)}

    def forward(**values: Array) -> Array:
        return np.asarray(case.run([values.get(f"x{i}", x) for i, x in enumerate(inputs)])[0])

    def gradient(dy: Array, i: int) -> Array:
        return np.asarray(case.backward(dy, case.run(inputs)[1])[i])

    for name, i in wanted.items():
        for kind, c in (("sign", -1), ("factor", 0.7), ("zero", 0)):
            wrong = Case(
                name, {n: inputs[j] for n, j in wanted.items()}, forward, lambda dy, c=c, i=i: c * gradient(dy, i)
            )
            found = evidence(wrong, np.random.default_rng(0), responses=False)
            if found is not None:  # else the gradient is zero
                assert diagnose(found).kind == kind, diagnose(found).sentence


def wrong_by(analytic: Array | None, numeric: Array, **more: object) -> Evidence:
    """Evidence of these two alone."""
    same = analytic is not None and analytic.shape == numeric.shape
    wrong = analytic != numeric if same else np.ones(numeric.shape, bool)
    e = Evidence("x", analytic, numeric, wrong, None, {"x": numeric}, numeric, np.ones(numeric.shape))
    return replace(e, **more)


N = np.random.default_rng(0).standard_normal((2, 6))


def test_no_gradient() -> None:
    assert diagnose(wrong_by(None, N)).kind == "no gradient"


def test_a_number_that_is_not_finite_is_named_with_its_place() -> None:
    bad = N.copy()
    bad[1, 2] = np.nan
    found = diagnose(wrong_by(bad, N))
    assert (found.kind, found.sentence) == (
        "not finite",
        "is not finite: backward returned nan at [1, 2], 1 such in all",
    )


@pytest.mark.parametrize(
    ("analytic", "kind", "words"),
    [
        (N.reshape(-1), "shape", "right values in the wrong shape: its shape is (12,), the parameter's (2, 6)"),
        (N[:1], "shape", "wrong shape"),
        (N.T, "transposed", "its axes in the order (1, 0)"),
        (np.stack([N / 4, 3 * N / 4]), "missing sum", "over axis 0"),
        (N[None], "missing sum", "over axis 0"),
        (np.zeros_like(N), "zero", "zero everywhere"),
        (-N, "sign", "everywhere"),
        (N / 6, "factor", "0.166667 = 1/6, 6 the length of axis 1 of x"),
        (N * 0.9, "factor", "0.9 = 9/10"),
        (N * 0.93, "factor", "0.93 = 1 - 0.07 (the scale of dropout?)"),
        (N / 0.93, "factor", "1.07527 = 1/(1 - 0.07)"),
        (N / np.sqrt(5), "factor", "0.447214 = 1/sqrt(5) (a head width?)"),
        (N * np.pi, "factor", "3.14159 times"),
        (N * np.arange(1, 7), "factor", "another for each index of axis 1 in [:, 1:6]: 2, 3, 4, ..."),
        (N.T.reshape(2, 6), "transposed", "with axes -2 and -1 swapped and reshaped"),
        (N[:, ::-1], "transposed", "permuted"),
        (N + 1, "missing term", "constant along axis -1"),
        (np.triu(N), "wrong mask", "([1, 0] first)"),
    ],
)
def test_what_a_sentence_says(analytic: Array, kind: Kind, words: str) -> None:
    found = diagnose(wrong_by(analytic, N))
    assert found.kind == kind, found.sentence
    assert words in found.sentence


def test_the_block_that_is_wrong_is_named() -> None:
    analytic = N.copy()
    analytic[:, 2:4] *= -1
    found = diagnose(wrong_by(analytic, N))
    assert found.kind == "sign"
    assert "in [:, 2:4], the second third of the last axis (packed q, k, v?)" in found.sentence


def test_one_element_says_no_more_than_its_ratio() -> None:
    one = np.array([3.0])
    assert diagnose(wrong_by(-one, one)).kind == "sign"
    assert diagnose(wrong_by(one / 2, one)).kind == "factor"
    # for another dy the ratio is another: no factor
    assert diagnose(wrong_by(one / 2, one, more=[(one, one / 3)])).kind == "unknown"


def test_a_gradient_of_what_y_does_not_depend_on() -> None:
    found = diagnose(wrong_by(N, 0 * N))
    assert found.kind == "unknown"
    assert "y does not depend on it" in found.sentence


def test_unrelated_numbers_fit_no_bug() -> None:
    """Random arrays of at least two elements: nothing fits but what rests on statistics, and that once in hundreds."""
    kinds: Counter[Kind] = Counter()
    for seed in range(500):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
        analytic, numeric, x, y, dy = rng.standard_normal((5, *shape))
        if numeric.size > 1:
            more = [tuple(rng.standard_normal((2, *shape))) for _ in range(3)]
            kinds[diagnose(wrong_by(analytic, numeric, y=y, dy=dy, values={"x": x}, more=more)).kind] += 1
    assert set(kinds) <= {"unknown", "missing term"}
    assert kinds["missing term"] <= 2
    assert kinds["unknown"] > 400


def test_nothing_wrong_is_nothing_to_diagnose() -> None:
    with pytest.raises(ValueError, match="nothing to diagnose: no element of the gradient of x is marked wrong"):
        diagnose(wrong_by(N, N))


def test_elements_marked_wrong_that_are_right_do_not_mislead() -> None:
    """Where only a random direction was tried, all elements are marked."""
    analytic = N.copy()
    analytic[:, 2:4] = 0
    found = diagnose(wrong_by(analytic, N, wrong=np.ones(N.shape, bool)))
    assert found.sentence == diagnose(wrong_by(analytic, N)).sentence


def test_a_value_that_moves_to_a_place_with_nearly_its_own_is_no_obstacle() -> None:
    """Such an element is not wrong beyond the tolerance, so the wrong ones alone are not the right ones moved."""
    rng = np.random.default_rng(4_294_967_294)
    sizes = iter([3, 4, 2, 2])
    found = evidence(BUGS["packed_dk_heads_not_put_back"][1](lambda low, high: next(sizes), rng), rng)
    assert found is not None
    difference = np.abs(found.given - found.numeric)[found.wrong]
    assert difference.min() < 1e-5 * np.abs(found.numeric).max()
    assert diagnose(found).kind == "transposed"
