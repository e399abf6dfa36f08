"""A whole GPT, hand-written against composed: every intermediate by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autograd import Op
from autograd.debug import DebugError, compare
from minillm import GPT, GPTConfig
from minillm.layers.attention import attention_probs, split_heads

IDS = np.random.default_rng(0).integers(0, 13, (2, 8))  # (B, T)


def make_model(**options: Any) -> GPT:
    config = {"vocab_size": 13, "context_length": 8, "n_layer": 2, "n_head": 2, "d_model": 16}
    return GPT(GPTConfig(**(config | options)), seed=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_rounding_explains_every_intermediate_of_a_gpt(activation: str, dtype: str) -> None:
    model = make_model(activation=activation, dropout=0.2, dtype=dtype, tie_embeddings=activation == "gelu")
    found = compare(model, IDS, IDS)
    assert found.different == []
    gradients = {row.name for row in found.rows if row.kind == "gradient"}
    assert gradients >= {name for name, _ in model.named_parameters()}
    values = {row.name for row in found.rows if row.kind == "value"}
    for i in (0, 1):
        attn = f"blocks.{i}.attn"
        assert {f"{attn}.{name}" for name in ("q", "k", "v", "probs", "kept", "qkv", "proj")} <= values
        assert {f"{attn}.{name}" for name in ("q", "k", "v", "qkv", "proj")} <= gradients
        assert {f"blocks.{i}.{name}" for name in ("ln1", "attn", "ln2", "mlp.fc", "mlp")} <= values & gradients


def test_only_what_lies_behind_the_composed_layer_can_differ() -> None:
    found = compare(make_model(), IDS, IDS, layer="blocks.1.attn")
    assert found.different == []
    names = [row.name for row in found.rows]
    before = found.rows[: names.index("blocks.1.attn.attention")]  # forward comes first
    assert len({row.name.split(".")[1] for row in before if row.name.startswith("blocks")}) == 2
    assert {row.name for row in before if row.verdict != "exact"} <= {
        f"blocks.1.attn.{local}" for local in ("k", "probs", "q", "qkv", "v")
    }
    assert found["blocks.1.mlp", "value"].verdict == "approximate"
    assert not any("blocks.0" in name for name in found.only_composed)


def attention_backward(
    dy: Any, qkv: Any, y: Any, mask: Any, n_head: int, causal: bool, dropout: float, dropout_key: Any
) -> Any:
    """Right but for dk, where `dscores.T` belongs."""
    q, k, v = split_heads(qkv, n_head)  # each (B, H, T, D)
    B, H, T, D = q.shape
    scale = 1 / D**0.5
    probs = attention_probs(q, k, mask, causal)  # (B, H, T, T)
    dheads = dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
    dprobs = dheads @ v.swapaxes(-1, -2)  # (B, H, T, T)
    dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True))  # (B, H, T, T)
    dqkv = np.empty_like(dy, shape=(B, T, 3, H, D))
    dq, dk, dv = dqkv.transpose(2, 0, 3, 1, 4)  # each (B, H, T, D), a view of dqkv
    dv[...] = probs.swapaxes(-1, -2) @ dheads
    dq[...] = dscores @ k * scale
    dk[...] = dscores @ (q * scale)
    return dqkv.reshape(B, T, 3 * H * D), None


def test_a_wrong_gradient_is_found_where_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Op.registry["attention"].backward, "reference", attention_backward)
    found = compare(make_model(), IDS, IDS)
    assert str(found.different[0]).startswith("gradient of blocks.1.attn.k (2, 2, 8, 8): different")
    assert "the first that differs: gradient of blocks.1.attn.k" in str(found)
    different = {row.name for row in found.different}
    assert {"blocks.1.attn.qkv", "blocks.1.attn.qkv.weight", "blocks.0"} <= different
    right = {f"blocks.1.attn.{name}" for name in ("q", "v", "probs", "scores", "proj.weight")}
    assert not different & {*right, "blocks.1.mlp.fc.weight", "ln_f.weight"}
    assert right <= {row.name for row in found.rows if row.kind == "gradient"}


def test_where_only_another_layer_is_composed_a_wrong_gradient_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Op.registry["attention"].backward, "reference", attention_backward)
    model = make_model()
    assert compare(model, IDS, IDS, layer="blocks.0.mlp").different == []
    found = compare(model, IDS, IDS, layer="blocks.0.attn")
    assert found.different[0].name == "blocks.0.attn.k"


def test_the_models_gradients_and_numbers_are_left_as_they_were() -> None:
    model = make_model()
    _, loss = model(IDS, IDS)
    assert loss is not None
    loss.backward()
    before = model.flat.data.copy(), model.flat.grad.copy()
    compare(model, IDS, IDS)
    np.testing.assert_array_equal(model.flat.data, before[0])
    np.testing.assert_array_equal(model.flat.grad, before[1])
    assert model.ln_f.weight.data.base is model.flat.data


def test_a_layer_of_a_model_alone() -> None:
    model = make_model()
    found = compare(model.blocks[1].attn, np.random.default_rng(1).standard_normal((2, 5, 16)), dtype="float64")
    assert found.different == []
    assert {"x", "blocks.1.attn.qkv.weight"} <= {row.name for row in found.rows if row.kind == "gradient"}


def test_a_layer_that_is_not_in_the_model_is_told_with_the_nearest() -> None:
    with pytest.raises(DebugError, match=r"no layer 'block\.0' whose ops GPT runs: did you mean 'blocks\.0'"):
        compare(make_model(), IDS, IDS, layer="block.0")


def test_the_table_fits_a_terminal() -> None:
    lines = str(compare(make_model(), IDS, IDS)).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.split()[:2] == ["blocks.0.attn.q", "gradient"] for line in lines)
