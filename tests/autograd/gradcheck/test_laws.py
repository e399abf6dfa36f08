"""Each law holds for a right gradient, and is broken by the bug it is for, with a sentence that points to it.

Many of these bugs are in forward and backward alike, so that no oracle can see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transposed_dk import transposed_dk

from autograd import Tensor
from autograd.gradcheck import GradcheckError, Law, gradcheck, linear_in_dy
from autograd.gradcheck.check import make_subject
from autograd.gradcheck.laws import (
    batch_permutation,
    causal,
    masked_rows,
    micro_batches,
    orthogonal,
    padding,
    separate_documents,
    sums_to_zero,
    tied,
    vanishes,
)
from autograd.ops.reduce import softmax_backward, softmax_forward
from minillm.layers.attention import attention, attention_backward, attention_forward
from minillm.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minillm.layers.embedding import embedding
from minillm.layers.layernorm import layernorm_backward, layernorm_forward
from minillm.layers.linear import linear, linear_backward, linear_forward

Pair = tuple[Callable[..., Any], Callable[..., Any]]


def broken(law: Law, target: Any, inputs: list[Any], dtype: str = "float64", **attributes: Any) -> str | None:
    """What the law says of the target."""
    parameters = attributes.pop("parameters", {})
    return law.broken(make_subject(target, inputs, attributes, parameters, (), dtype, 0), np.random.default_rng(0))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


@pytest.fixture(params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


# --- linear in dy -----------------------------------------------------------------------------------------------------


def test_linear_in_dy(dtype: str) -> None:
    x, weight = normal(2, 3), normal(4, 3)
    assert broken(linear_in_dy, (linear_forward, linear_backward), [x, weight], dtype) is None

    def clipped(dy, *saved):
        return linear_backward(np.clip(dy, -0.1, 0.1), *saved)

    how = broken(linear_in_dy, (linear_forward, clipped), [x, weight], dtype)
    assert "the gradient for dy1 - dy2/2 at x[" in how
    assert "a term without dy, a power of it, or a condition on it" in how


# --- sums that vanish -------------------------------------------------------------------------------------------------


def test_rows_of_a_gradient_sum_to_zero(dtype: str) -> None:
    x = normal(3, 4)
    assert broken(sums_to_zero("x"), (softmax_forward, softmax_backward), [x], dtype) is None
    assert broken(sums_to_zero("x", axis=0), (softmax_forward, softmax_backward), [x], dtype, axis=0) is None
    for wrong in (lambda dy, y, axis: (y * dy,), lambda dy, y, axis: softmax_backward(dy, y, 0)):
        how = broken(sums_to_zero("x"), (softmax_forward, wrong), [x], dtype)
        assert how.startswith("the sum[")
        assert "a term is missing from its gradient, the one that subtracts a mean, or it runs over another axis" in how


def test_a_sum_off_by_one_part_in_a_million_is_seen() -> None:
    """A bound that hides in cancelling terms would let it pass."""
    wrong = (softmax_forward, lambda dy, y, axis: (softmax_backward(dy, y, axis)[0] * (1 + 1e-6 * np.eye(3, 4)),))
    assert "the sum[" in broken(sums_to_zero("x"), wrong, [normal(3, 4)])


def test_orthogonal_to_a_direction(dtype: str) -> None:
    inputs = [normal(2, 3, 5), normal(5), normal(5)]
    law = orthogonal("x", "xhat", lambda values: values["x"] - values["x"].mean(-1, keepdims=True))
    assert broken(law, (layernorm_forward, layernorm_backward), inputs, dtype, eps=0.0) is None

    def without_the_path_through_rstd(dy, x, mean, rstd, weight, bias):
        _, dweight, dbias = layernorm_backward(dy, x, mean, rstd, weight, bias)
        dxhat = dy * weight
        return rstd * (dxhat - dxhat.mean(-1, keepdims=True)), dweight, dbias

    wrong = (layernorm_forward, without_the_path_through_rstd)
    how = broken(law, wrong, inputs, dtype, eps=0.0)
    assert "the term of its gradient that removes this direction is missing or wrong" in how
    assert broken(sums_to_zero("x"), wrong, inputs, dtype, eps=0.0) is None  # the other law cannot see it
    assert law.name == "dx is orthogonal to xhat"


def k_bias(name: str, axis: tuple[int, ...]) -> Law:
    return vanishes("K-bias", lambda gradients, _: np.split(gradients[name], 3, -1)[1], axis, "wrong gradient of K")


def test_k_bias_gradient_vanishes(dtype: str) -> None:
    qkv, law = normal(2, 4, 12), k_bias("qkv", (0, 1))
    assert broken(law, (attention_forward, attention_backward), [qkv], dtype, n_head=2) is None
    how = broken(law, (attention_forward, transposed_dk), [qkv], dtype, n_head=2)
    assert how.endswith(": wrong gradient of K")


def test_k_bias_gradient_of_a_parameter_vanishes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no terms to compare with: the parameter's gradient is the whole sum."""
    inputs = [normal(2, 4, 4), normal(12, 4), normal(12)]

    def layer(x, weight, bias):
        return attention(linear(x, weight, bias), n_head=2)

    law = k_bias("bias", ())
    assert broken(law, layer, inputs, dtype) is None
    monkeypatch.setattr(attention.backward, "reference", transposed_dk)
    assert broken(law, layer, inputs, dtype).endswith(": wrong gradient of K")


# --- masks ------------------------------------------------------------------------------------------------------------


def plain_attention(mask: Callable[[Any, int], Any]) -> Pair:
    """One head over x (B, T, C), which is queries, keys and values at once; `mask(probs, T)` zeroes some of probs."""

    def forward(x):
        scores = x @ x.swapaxes(-1, -2)  # (B, T, T)
        probs = mask(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True), x.shape[1])
        return probs @ x, (x, probs)

    def backward(dy, x, probs):
        dprobs = mask(dy @ x.swapaxes(-1, -2), x.shape[1])
        dscores = probs * dprobs - softmax_part(x) * (dprobs * probs).sum(-1, keepdims=True)
        return (probs.swapaxes(-1, -2) @ dy + dscores @ x + dscores.swapaxes(-1, -2) @ x,)

    def softmax_part(x):
        scores = x @ x.swapaxes(-1, -2)
        return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)

    return forward, backward


def test_a_mask_after_softmax_is_seen_by_causality_alone(dtype: str) -> None:
    """Forward and backward agree, so every oracle is content; what leaks is the sum below the fraction line."""
    pair = plain_attention(lambda probs, T: probs * np.tri(T, dtype=probs.real.dtype))
    x = normal(2, 4, 3)
    gradcheck(pair, [x], dtype=dtype)
    how = broken(causal("x"), pair, [x], dtype)
    assert how.startswith("y[")
    assert how.endswith("when x changes after position 0: wrong mask, output t depends on input s > t")


def test_causality_of_a_right_mask_and_of_one_that_is_off_by_one(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, qkv = (attention_forward, attention_backward), normal(2, 4, 6)
    assert broken(causal("qkv"), pair, [qkv], dtype, n_head=1) is None
    tri = np.tri
    monkeypatch.setattr(np, "tri", lambda T, **options: tri(T, k=1, **options))
    assert "wrong mask, output t depends on input s > t" in broken(causal("qkv"), pair, [qkv], dtype, n_head=1)


def test_a_backward_that_forgets_the_mask_is_not_causal(dtype: str) -> None:
    def unmasked(*saved):
        *others, causal, dropout, key = saved
        return attention_backward(*others, not causal, dropout, key)

    how = broken(causal("qkv"), (attention_forward, unmasked), [normal(2, 4, 6)], dtype, n_head=1)
    assert how.startswith("the gradient at qkv[0, 1, ")
    assert "though dy is zero after position 0: wrong mask in the backward" in how


def test_one_position_is_causal() -> None:
    assert broken(causal("x"), plain_attention(lambda probs, T: probs), [normal(2, 1, 3)]) is None


def test_causality_of_integers() -> None:
    ids, table = np.array([[0, 1, 2], [2, 2, 1]]), normal(3, 2)
    assert broken(causal("ids"), embedding, [ids, table]) is None

    def looks_ahead(ids, table):
        return embedding(ids[:, ::-1], table)

    assert "when ids changes after position 0" in broken(causal("ids"), looks_ahead, [ids, table])


MASK = np.array([[True, True, False, False], [False, True, True, False]])


def leaky(size: float) -> Pair:
    """Attention over all keys, but with `size` taken off the scores of masked ones instead of infinity."""

    def forward(x, mask):
        scores = x @ x.swapaxes(-1, -2) - size * ~mask[:, None]
        probs = softmax_forward(scores)[0]
        return probs @ x, (x, probs)

    def backward(dy, x, probs):
        dscores = softmax_backward(dy @ x.swapaxes(-1, -2), probs, -1)[0]
        return probs.swapaxes(-1, -2) @ dy + dscores @ x + dscores.swapaxes(-1, -2) @ x, None

    return forward, backward


def test_what_is_masked_changes_nothing(dtype: str) -> None:
    inputs = [normal(2, 4, 6), MASK]
    assert broken(padding("qkv"), (attention_forward, attention_backward), inputs, dtype, n_head=1) is None

    def to_masked_keys(dy, *saved):
        return attention_backward(dy, *saved)[0] + np.asarray(1e-6 * dy.sum(), dy.dtype), None

    how = broken(padding("qkv"), (attention_forward, to_masked_keys), inputs, dtype, n_head=1)
    assert how.startswith("the gradient at qkv[0, 2, 0] is ")
    assert how.endswith("in the padding: wrong mask in the backward")

    how = broken(padding("x"), leaky(5), [normal(2, 4, 6), MASK], dtype)
    assert how.endswith("when the padding changes: wrong mask, padding leaks into y")


def test_fully_masked_rows(dtype: str) -> None:
    def nothing_to_see(values):
        return ~np.logical_or.accumulate(values["mask"], axis=1)

    inputs = [normal(2, 4, 6), MASK]
    assert broken(masked_rows(nothing_to_see), (attention_forward, attention_backward), inputs, dtype, n_head=1) is None

    def not_a_number(dy, qkv, y, *others):
        with np.errstate(invalid="ignore"):
            return attention_backward(dy, qkv, y * (y / y), *others)

    how = broken(masked_rows(nothing_to_see), (attention_forward, not_a_number), inputs, dtype, n_head=1)
    assert "is nan, not 0, where some rows are fully masked: 0/0 in the backward" in how

    def of_all_keys(dy, qkv, y, mask, *others):
        return attention_backward(dy, qkv, y, None, *others)

    how = broken(masked_rows(nothing_to_see), (attention_forward, of_all_keys), inputs, dtype, n_head=1)
    assert how.endswith("for a dy at fully masked rows only: wrong mask in the backward")

    all_masked = [normal(2, 4, 6), np.zeros((2, 4), bool)]
    how = broken(masked_rows(nothing_to_see), leaky(1e9), all_masked, dtype)  # the usual workaround for infinity
    assert how.endswith("a row with nothing to attend to attends to something, or divides by zero")


# --- batches and documents --------------------------------------------------------------------------------------------


def test_a_permuted_batch(dtype: str) -> None:
    inputs = [normal(3, 2, 4), normal(5, 4)]
    assert broken(batch_permutation("x"), (linear_forward, linear_backward), inputs, dtype) is None

    def overwritten(dy, x, weight, bias):
        return linear_backward(dy, x, weight, bias)[0], dy[-1].T @ x[-1], None

    how = broken(batch_permutation("x"), (linear_forward, overwritten), inputs, dtype)
    assert "with the batch permuted the gradient at weight[" in how
    assert how.endswith("a row's gradient depends on its place or on the other rows")

    def first_row_twice(dy, x, weight, bias):
        dx, *rest = linear_backward(dy, x, weight, bias)
        return np.concatenate([dx[:1], dx[:1], dx[2:]]), *rest

    assert "at x[" in broken(batch_permutation("x"), (linear_forward, first_row_twice), inputs, dtype)


def test_micro_batches_of_rows(dtype: str) -> None:
    inputs = [normal(3, 2, 4), normal(5, 4)]
    assert broken(micro_batches("x"), (linear_forward, linear_backward), inputs, dtype) is None
    assert broken(micro_batches("x"), (linear_forward, linear_backward), [normal(1, 2, 4), normal(5, 4)], dtype) is None

    def mean_over_rows(dy, x, weight, bias):
        dx, dweight, _ = linear_backward(dy, x, weight, bias)
        return dx, dweight / len(x), None

    how = broken(micro_batches("x"), (linear_forward, mean_over_rows), inputs, dtype)
    assert how.startswith("the gradient at weight[")
    assert "gradients are not accumulated, or a mean is taken over the wrong count" in how


def n_counted(values: Any) -> int:
    return int((values["targets"] != -1).sum())


def test_micro_batches_of_a_mean(dtype: str) -> None:
    inputs = [normal(3, 2, 4), np.array([[1, -1], [0, 3], [2, 2]])]
    law = micro_batches("logits", "targets", count=n_counted)
    assert broken(law, (cross_entropy_forward, cross_entropy_backward), inputs, dtype) is None

    def forward(logits, targets):  # the ignored target counts in the mean
        loss, (probs, t, share) = cross_entropy_forward(logits, targets)
        factor = np.asarray((targets != -1).sum() / targets.size, share.dtype)
        return loss * factor, (probs, t, share * factor)

    wrong = (forward, cross_entropy_backward)
    gradcheck(wrong, inputs, dtype=dtype)  # right in itself: a gradient of another loss than was asked for
    assert "a mean is taken over the wrong count" in broken(law, wrong, inputs, dtype)


def test_documents_packed_in_a_row(dtype: str) -> None:
    pair, document = (attention_forward, attention_backward), np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    inputs = [normal(2, 4, 6), document[:, :, None] == document[:, None]]
    assert broken(separate_documents("qkv"), pair, inputs, dtype, n_head=1) is None

    def without_the_mask(qkv, mask, *, n_head):
        return attention_forward(qkv, None, n_head=n_head)

    how = broken(separate_documents("qkv"), (without_the_mask, attention_backward), inputs, dtype, n_head=1)
    assert how.endswith("wrong mask, one document depends on another or on padding")


def test_masked_is_shorter(dtype: str) -> None:
    inputs = [normal(2, 4, 6), MASK]
    assert broken(separate_documents("qkv"), (attention_forward, attention_backward), inputs, dtype, n_head=1) is None

    def masked_after(qkv, mask, *, n_head):  # keys in the padding get no weight, yet take some from the others
        C3 = qkv.shape[-1]
        seen = qkv * (mask[..., None] | (np.arange(C3) < C3 // 3 * 2))  # (B, T, 3C), values of masked keys are zero
        return attention_forward(seen, None, n_head=n_head)

    how = broken(separate_documents("qkv"), (masked_after, attention_backward), inputs, dtype, n_head=1)
    assert "as for the documents one by one: wrong mask" in how


# --- tied -------------------------------------------------------------------------------------------------------------


def test_a_tied_gradient_is_the_sum_of_its_uses(dtype: str) -> None:
    ids, weight = np.array([[0, 1], [1, 2]]), Tensor(normal(4, 3), requires_grad=True)
    twins = {"embedding": Tensor(normal(4, 3), requires_grad=True), "head": Tensor(normal(4, 3), requires_grad=True)}
    law = tied("weight", lambda ids: linear(embedding(ids, twins["embedding"]), twins["head"]), twins, list(twins))

    def model(ids):
        return linear(embedding(ids, weight), weight)

    def head_counts_once(ids):
        return linear(embedding(ids, weight), weight.detach())

    assert broken(law, model, [ids], dtype, parameters={"weight": weight}) is None
    how = broken(law, head_counts_once, [ids], dtype, parameters={"weight": weight})
    assert how.startswith("the gradient at weight[")
    assert "the sum over its uses (embedding, head): one use is left out, counted twice, or overwritten" in how


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (causal("z"), r"the law 'causal in z' is about 'z', which is no input or parameter of softmax: choose from x"),
        (padding("x"), "is about 'mask', which is no input"),
        (sums_to_zero("y"), "is about 'y', which is no input"),
        (causal("x", axis=2), r"causality is along axis 2 of y, and softmax returned y of shape \(3, 4\)"),
    ],
)
def test_a_law_about_what_is_not_there(law: Law, message: str) -> None:
    with pytest.raises(GradcheckError, match=message):
        broken(law, (softmax_forward, softmax_backward), [normal(3, 4)])


# --- over drawn shapes ------------------------------------------------------------------------------------------------


@given(st.data())
def test_attention_keeps_its_laws_at_any_shape_and_with_any_padding(data: st.DataObject) -> None:
    """One row, one position, one head, and rows that are all padding among them."""
    B, T, H, D = (data.draw(st.integers(1, n)) for n in (3, 4, 2, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    laws = [causal("qkv"), k_bias("qkv", (0, 1)), batch_permutation("qkv", "mask"), micro_batches("qkv", "mask")]
    if data.draw(st.booleans()):
        mask = rng.random((B, T)) < data.draw(st.sampled_from([0, 0.5, 1]))
        laws += [padding("qkv"), masked_rows(lambda values: ~np.logical_or.accumulate(values["mask"], axis=1))]
    else:
        document = rng.integers(3, size=(B, T))
        mask = (document[:, :, None] == document[:, None]) & (document[:, None] != 0)  # number 0 is padding
    inputs, dtype = [rng.standard_normal((B, T, 3 * H * D)), mask], data.draw(st.sampled_from(["float64", "float32"]))
    for law in [*laws, separate_documents("qkv")]:
        assert broken(law, (attention_forward, attention_backward), inputs, dtype, n_head=H) is None


# --- in a report ------------------------------------------------------------------------------------------------------


def test_gradcheck_names_the_law_that_is_broken() -> None:
    pair = plain_attention(lambda probs, T: probs * np.tri(T, dtype=probs.real.dtype))
    with pytest.raises(AssertionError, match="the law 'causal in x' is broken: y") as caught:
        gradcheck(pair, [normal(2, 3, 3)], laws=[causal("x"), batch_permutation("x")])
    laws = caught.value.report.laws
    assert laws["causal in x"] is not None
    assert (laws["batch permutation"], laws["linear in dy"]) == (None, None)
