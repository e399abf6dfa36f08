"""Every layer of the table passes: each oracle is asked and agrees, and each law holds. And the table sees bugs."""

from __future__ import annotations

import numpy as np
import pytest
from transposed_dk import transposed_dk

from autograd import Op, Tensor, modes
from autograd.gradcheck import GradcheckError
from autograd.gradcheck.report import ORACLES
from minillm import model
from minillm.check.layers import LAYERS, check_layer
from minillm.layers import attention, cross_entropy, embedding, layernorm, linear

SLOW = {name for name in LAYERS if "attention" in name or "gpt" in name}  # up to half a second each
CHECKS = [
    (name, dtype, seed)
    for name in LAYERS
    for dtype, seed in (("float64", 0), ("float32", 1), ("float64", 2), ("float32", 3))
    if seed < 2 or name not in SLOW
]


@pytest.mark.parametrize(("name", "dtype", "seed"), CHECKS)
def test_every_oracle_is_asked_and_every_law_holds(name: str, dtype: str, seed: int) -> None:
    report = check_layer(name, dtype, seed)
    assert report.without == {}
    for row in report.rows:
        assert set(row.errors) == set(ORACLES), row.name
        assert row.checked > 0, row.name
    assert set(report.laws.values()) == {None}
    assert (report.kinks > 0) == (name == "relu")


def test_seeds_that_once_gave_a_false_alarm() -> None:
    """124: dy1 - dy2/2 was near zero and their roundings not; 145: differences thought too well of themselves."""
    for seed in (124, 145):
        assert check_layer("gpt_dropout", "float64", seed).failures == []


# each law, and the layers it is checked for
LAWS = {
    "linear in dy": set(LAYERS),
    "dx sums to zero over axis -1": {"layernorm", "layernorm_eps_0", "softmax", "head_loss"},
    "dlogits sums to zero over axis -1": {"cross_entropy"},
    "dx is orthogonal to xhat": {"layernorm_eps_0"},
    "K-bias gradient of qkv is zero": {"attention", "attention_padded", "attention_dropout"},
    "K-bias gradient of qkv_bias is zero": {"attention_half"},
    "K-bias gradient of qkv.bias is zero": {"causal_self_attention"},
    "K-bias gradient of attn.qkv.bias is zero": {"block"},
    "K-bias gradient of blocks.0.attn.qkv.bias is zero": {"gpt", "gpt_untied", "gpt_dropout"},
    "causal in qkv": {"attention", "attention_padded", "attention_packed", "attention_dropout"},
    "causal in x": {"attention_half", "causal_self_attention", "block"},
    "causal in ids": {"gpt_logits"},
    "padding changes nothing": {"attention_padded", "gpt"},
    "fully masked rows are zero": {"attention_padded"},
    "masked = separate documents": {"attention_padded", "attention_packed", "causal_self_attention", "block", "gpt"},
    "dtoken_embedding.weight is the sum of its uses": {"gpt"},
    "batch permutation": set(LAYERS) - {"layernorm_eps_0", "dropout", "attention_dropout", "gpt_dropout"},
    "micro-batches = full batch": {
        *("linear", "embedding", "layernorm", "cross_entropy", "head_loss", "attention", "attention_packed"),
        *("attention_half", "causal_self_attention", "feed_forward", "feed_forward_half"),
        *("block", "gpt", "gpt_untied", "gpt_logits"),
    },
}


@pytest.mark.parametrize("law", LAWS)
def test_which_laws_each_layer_is_held_to(law: str) -> None:
    rng = np.random.default_rng
    held = {name for name, make in LAYERS.items() if law in [law.name for law in make(rng(0)).laws]}
    assert held == (LAWS[law] if law != "linear in dy" else set())  # gradcheck itself adds that one


def test_every_op_of_the_layers_is_in_the_table() -> None:
    reached = set()
    with modes.observe(lambda op, *_: reached.add(op)):
        for make in LAYERS.values():
            t = make(np.random.default_rng(0))
            t.target(*map(as_tensor, t.inputs), **t.attributes)
    of_layers = {op for op in Op.registry.values() if op.forward.reference.__module__.startswith("minillm.layers.")}
    assert of_layers - reached == set()


def as_tensor(x: object) -> object:
    """Floating-point arrays as Tensors."""
    return Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


@pytest.mark.parametrize("name", LAYERS)
def test_the_seed_decides_shapes_and_numbers(name: str) -> None:
    a, same, other = (LAYERS[name](np.random.default_rng(seed)).inputs for seed in (3, 3, 4))
    for x, y in zip(a, same, strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(x.shape != y.shape or (x != y).any() for x, y in zip(a, other, strict=True))


# --- the table sees bugs: one of each kind, by an oracle or by a law --------------------------------------------------


def wrong(monkeypatch: pytest.MonkeyPatch, op: object, backward: object) -> None:
    monkeypatch.setattr(op.backward, "reference", backward)  # type: ignore[attr-defined]


def failure(name: str) -> GradcheckError:
    with pytest.raises(GradcheckError) as caught:
        check_layer(name)
    assert caught.value.report is not None
    return caught.value


def test_an_embedding_that_overwrites(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrites(dy, ids, weight):
        dweight = np.zeros_like(weight)
        dweight[ids] = dy
        return None, dweight

    wrong(monkeypatch, embedding.embedding, overwrites)
    assert [row.failure is not None for row in failure("embedding").report.rows] == [True]


def test_a_transposed_gradient_of_k(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, attention.attention, transposed_dk)
    assert "worst at qkv[" in str(failure("attention_padded"))


def test_a_layernorm_without_its_second_term(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(dy, x, mean, rstd, weight, bias):
        xhat, dxhat, rows = (x - mean) * rstd, dy * weight, tuple(range(dy.ndim - 1))
        return rstd * (dxhat - dxhat.mean(-1, keepdims=True)), (dy * xhat).sum(rows), dy.sum(rows)

    wrong(monkeypatch, layernorm.layernorm, short)
    wrong_rows = [row.name for row in failure("layernorm").report.rows if row.failure]
    assert wrong_rows == ["x"]


def test_a_loss_divided_by_the_wrong_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward agree, so the oracles that know no other formula do too. The law knows what is meant."""
    right = cross_entropy.cross_entropy_forward

    def over_all_tokens(logits, targets):
        loss, (probs, t, share) = right(logits, targets)
        factor = np.asarray((targets != -1).sum() / targets.size, share.dtype)
        return loss * factor, (probs, t, share * factor)

    monkeypatch.setattr(cross_entropy.cross_entropy.forward, "reference", over_all_tokens)
    monkeypatch.setattr(cross_entropy.cross_entropy, "composed", None)  # it would tell, by itself
    laws = failure("cross_entropy").report.laws
    assert [name for name, how in laws.items() if how] == ["micro-batches = full batch"]


def test_a_mask_that_lets_the_next_token_through(monkeypatch: pytest.MonkeyPatch) -> None:
    tri = np.tri
    monkeypatch.setattr(np, "tri", lambda T, **options: tri(T, k=1, **options))
    monkeypatch.setattr(attention.attention, "composed", None)
    how = failure("attention").report.laws["causal in qkv"]
    assert how is not None
    assert how.endswith("wrong mask, output t depends on input s > t")


def test_a_tied_head_that_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "linear", lambda x, weight: linear.linear(x, weight.detach()))
    wrong_rows = [row.name for row in failure("gpt").report.rows if row.failure]
    assert wrong_rows == ["token_embedding.weight"]
