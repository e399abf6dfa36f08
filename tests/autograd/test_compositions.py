"""The third oracle: each op equals a composition of primitives, whose gradients come from the tape alone.

Only the primitive ops' own backwards are used on that side, and those are compared with further compositions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case
from compositions import COMPOSITIONS, composition_of
from hypothesis import given
from hypothesis import strategies as st
from transposed_dk import transposed_dk

import autograd.ops
from autograd import Op, Stream, Tensor, checkpoint, compose, no_grad, observe, use_stream
from autograd.gradcheck.arrays import is_float
from autograd.tape import tape
from minillm import GPT, GPTConfig

TOLERANCE = 1e-11  # of the largest element: about the rounding of a few hundred operations in float64
PRIMITIVES = set(autograd.ops.__all__)


def assert_close(actual: Any, expected: Any) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)


def upstream(y: Any) -> Any:
    return np.asarray(np.random.default_rng(1).standard_normal(np.shape(y)).astype(y.dtype))


def run_composed(case: Case, dtype: str = "float64", array: Any = np.asarray) -> tuple[Tensor, list[Any]]:
    """The composition's output and its arguments, Tensors of `array`s where the op has a gradient for them."""
    inputs = case.make(dtype)
    wanted = case.wrt(inputs)
    arrays = [array(x) if isinstance(x, np.ndarray) else x for x in inputs]
    arguments = [Tensor(x, requires_grad=i in wanted) if is_float(x) else x for i, x in enumerate(arrays)]
    with compose():
        return composition_of(case.op)(*arguments, **case.attributes), arguments


def compare(case: Case) -> None:
    """Forward and hand-written gradients of a case against its composition."""
    inputs = case.make()
    y, saved = case.run(inputs)
    dy = upstream(y)
    composed, arguments = run_composed(case)
    assert_close(composed.data, y)
    composed.backward(dy)
    dxs = case.backward(dy, saved)
    for i in case.wrt(inputs):
        assert_close(arguments[i].grad, dxs[i])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_op_equals_its_composition(case: Case) -> None:
    compare(case)


def test_every_op_has_one_composition() -> None:
    ops = {case.op for case in CASES}  # every registered op has a case: tests/autograd/test_ops.py
    with_own = {name for name in ops if Op.registry[name].composed}
    assert ops - with_own - set(COMPOSITIONS) == set(), (
        "decorate a layer's composition with @<op>.composition, or add a primitive's to tests/compositions.py"
    )
    assert with_own & set(COMPOSITIONS) == set()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_composition_uses_other_primitives_alone(case: Case) -> None:
    composed, _ = run_composed(case)
    used = {str(node.op) for node in tape(composed)}
    assert used <= PRIMITIVES - {case.op}


@pytest.mark.parametrize("case", [case for case in CASES if case.op != "cast"], ids=str)
def test_a_composition_promotes_no_float32(case: Case) -> None:
    composed, arguments = run_composed(case, "float32")
    assert {node.dtype for node in tape(composed)} == {np.dtype("float32")}
    composed.backward(upstream(composed.data))
    assert {x.grad.dtype for x in arguments if isinstance(x, Tensor) and x.grad is not None} == {np.dtype("float32")}


@pytest.mark.parametrize("case", [case for case in CASES if case.analytic], ids=str)
def test_a_complex_step_passes_through_a_composition(case: Case) -> None:
    """Im f(x + ih v) / h is the derivative along v, here compared with the hand-written gradient's."""
    inputs, rng, h = case.make(), np.random.default_rng(2), 1e-30
    y, saved = case.run(inputs)
    dy = upstream(y)
    dxs = case.backward(dy, saved)
    expected, moved = 0.0, list(inputs)
    for i in case.wrt(inputs):
        v = rng.standard_normal(inputs[i].shape)
        expected += (dxs[i] * v).sum()
        moved[i] = inputs[i] + 1j * h * v
    with no_grad(), compose():
        composed = composition_of(case.op)(
            *(Tensor(x) if getattr(x, "dtype", np.dtype(int)).kind in "fc" else x for x in moved), **case.attributes
        )
    assert_close((dy * composed.data).sum().imag / h, expected)


@given(data=st.data())
def test_attention_of_any_shape_and_mask_equals_its_composition(data: st.DataObject) -> None:
    B, T, H, D = (data.draw(st.integers(1, n), name) for name, n in (("B", 3), ("T", 5), ("H", 3), ("D", 3)))
    mask_shape = data.draw(st.sampled_from([None, (B, T), (B, T, T)]), "mask")
    size = data.draw(st.sampled_from([0.1, 1, 30]), "size")  # at 30 softmax is one key or another
    attributes = {
        "n_head": H,
        "causal": data.draw(st.booleans(), "causal"),
        "dropout": data.draw(st.sampled_from([0.0, 0.4]), "dropout"),
        "dropout_key": (data.draw(st.integers(0, 99), "seed"), 1),
    }

    def inputs(rng: np.random.Generator) -> list[Any]:
        mask = None if mask_shape is None else rng.random(mask_shape) < 0.6
        return [size * rng.standard_normal((B, T, 3 * H * D)), mask]

    compare(Case("attention", "drawn", inputs, attributes))


@given(data=st.data())
def test_cross_entropy_of_any_shape_and_size_equals_its_composition(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), "shape")
    V, size = data.draw(st.integers(1, 6), "V"), data.draw(st.sampled_from([1, 1e4]), "size")
    ignored, weighted = data.draw(st.sampled_from([-1, 0]), "ignore_index"), data.draw(st.booleans(), "weights")

    def inputs(rng: np.random.Generator) -> list[Any]:
        targets = rng.integers(min(ignored, 0), V, shape)
        weights = rng.integers(0, 3, shape) * 0.7 if weighted else None
        return [size * rng.standard_normal((*shape, V)), targets, weights]

    compare(Case("cross_entropy", "drawn", inputs, {"ignore_index": ignored}, constants=("weights",)))


# --- the mode ---------------------------------------------------------------------------------------------------------


def loss_and_gradient(model: GPT, names: set[str] | None = None) -> tuple[float, Any]:
    """Loss and flat gradient on ragged, padded rows with weights; `names` collects the ops that run."""
    ids, targets = np.random.default_rng(3).integers(0, model.config.vocab_size, (2, 3, 6))  # each (B, T)
    mask = np.arange(6) < np.array([[6], [4], [5]])  # (B, T)
    weights = np.random.default_rng(4).uniform(0.5, 2, ids.shape)
    model.zero_grad()
    seen = names if names is not None else set()
    with use_stream(Stream(seed=7)), observe(lambda op, *_: seen.add(str(op))):
        _, loss = model(ids, np.where(mask, targets, -1), mask=mask, weights=weights)
    assert loss is not None
    loss.backward()
    return loss.item(), model.flat.grad.copy()


def make_model(**overrides: Any) -> GPT:
    config = {"vocab_size": 13, "context_length": 6, "n_layer": 2, "n_head": 2, "d_model": 8, "dtype": "float64"}
    model = GPT(GPTConfig(**(config | overrides)), seed=1)
    model.flat.data += 0.2 * np.random.default_rng(0).standard_normal(model.flat.data.shape)  # no bias at zero
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_a_whole_model_has_the_gradients_of_its_composition(tied: bool, activation: str) -> None:
    model = make_model(tie_embeddings=tied, activation=activation, dropout=0.2)
    used: set[str] = set()
    loss, gradient = loss_and_gradient(model, used)
    assert {"linear", "embedding", "layernorm", "attention", "dropout", "cross_entropy", activation} <= used
    used.clear()
    with compose():
        composed_loss, composed_gradient = loss_and_gradient(model, used)
    assert used <= PRIMITIVES - {"softmax"}
    assert composed_loss == pytest.approx(loss, rel=1e-12)
    assert_close(composed_gradient, gradient)


def test_the_mode_ends_with_its_block() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    softmax = Op.registry["softmax"]
    with compose():
        assert str(softmax(x).node.op) == "divide"  # type: ignore[union-attr]
        with compose(False):
            assert softmax(x).node.op is softmax  # type: ignore[union-attr]
    assert softmax(x).node.op is softmax  # type: ignore[union-attr]


def test_a_checkpointed_stretch_is_composed_again_in_backward_though_the_block_has_ended() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    with compose():
        y = checkpoint(Op.registry["softmax"], x)
    used: set[str] = set()
    with observe(lambda op, *_: used.add(str(op))):
        y.backward(np.ones(3))
    assert used == {"subtract", "exp", "reduce_sum", "divide"}


def ops_by_layer(model: GPT) -> dict[str, set[str]]:
    """The ops that each layer ran in a forward pass."""
    ids = np.random.default_rng(3).integers(0, model.config.vocab_size, (2, 6))  # (B, T)
    _, loss = model(ids, ids)
    assert loss is not None
    found: dict[str, set[str]] = {}
    for node in tape(loss):
        found.setdefault(node.layer or "", set()).add(str(node.op))
    return found


def test_a_pattern_composes_the_layers_it_names_and_all_below_them_alone() -> None:
    model = make_model()
    handwritten = ops_by_layer(model)
    with compose(layer="blocks.*.attn"):
        some = ops_by_layer(model)
    with compose():
        every = ops_by_layer(model)
    within = {layer for layer in handwritten if ".attn" in layer}
    assert within == {f"blocks.{i}.attn{part}" for i in (0, 1) for part in ("", ".qkv", ".proj")}
    for layer in handwritten:
        assert handwritten[layer] != every[layer] or layer == "blocks.0" or layer == "blocks.1"
        assert some[layer] == (every if layer in within else handwritten)[layer]


def test_a_model_with_one_layer_composed_has_the_same_gradients() -> None:
    model = make_model(dropout=0.2)
    _, gradient = loss_and_gradient(model)
    with compose(layer="blocks.1"):
        _, some = loss_and_gradient(model)
    assert not np.array_equal(some, gradient)  # it did something
    assert_close(some, gradient)


def test_a_layer_that_is_not_there_is_named_at_the_blocks_end() -> None:
    model = make_model()
    with pytest.raises(LookupError, match=r"no op ran in layer 'block\.0': .*'blocks\.0\.attn'"):  # noqa: SIM117
        with compose(layer="block.0"):
            ops_by_layer(model)


def test_a_checkpointed_stretch_composes_the_same_layers_again() -> None:
    model = make_model()
    x = Tensor(np.random.default_rng(0).standard_normal((1, 4, 8)), requires_grad=True)
    with compose(layer="blocks.0.ln1"):
        y = checkpoint(lambda x: model.blocks[1].ln1(model.blocks[0].ln1(x)), x)
    used: list[str] = []
    with observe(lambda op, *_: used.append(str(op))):
        y.backward(np.ones(y.shape))
    assert used.count("layernorm") == 1  # that of blocks.1
    assert "sqrt" in used


@pytest.mark.parametrize("kind", [np.asarray, Tensor], ids=["arrays", "tensors"])
def test_arguments_may_be_arrays_or_tensors(kind: Any) -> None:
    """A composition meets numbers as Tensors and ids as arrays, whichever the caller has."""
    with compose(), no_grad():
        for case in CASES:
            op = Op.registry[case.op]
            if op.composed:
                y = op(*(kind(x) if isinstance(x, np.ndarray) else x for x in case.make()), **case.attributes)
                assert isinstance(y, Tensor)
                assert_close(y.data, case.run(case.make())[0])


@pytest.mark.parametrize("case", [c for c in CASES if Op.registry[c.op].composed], ids=str)
def test_a_layers_composition_runs_on_a_gpu_without_waiting(case: Case, strict_cupy: type[standin.Waits]) -> None:
    expected, arguments = run_composed(case)
    dy = upstream(expected.data)
    expected.backward(dy)
    composed, device_arguments = run_composed(case, array=standin.ndarray)
    composed.backward(standin.ndarray(dy))
    assert strict_cupy.count == 0
    np.testing.assert_array_equal(composed.data.values, expected.data)  # type: ignore[attr-defined]
    for i in case.wrt(case.make()):
        assert_close(device_arguments[i].grad.values, arguments[i].grad)


# --- it finds bugs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", sorted({case.op for case in CASES}))
def test_a_gradient_off_by_one_part_in_a_million_is_found(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Op.registry[op].backward.reference

    def wrong(dy: Any, *saved: Any) -> Any:
        return [None if dx is None else dx * (1 + 1e-6) for dx in right(dy, *saved)]

    monkeypatch.setattr(Op.registry[op].backward, "reference", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        list(map(compare, [case for case in CASES if case.op == op]))


def test_a_key_gradient_with_queries_and_keys_exchanged_is_found_in_a_whole_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Op.registry["attention"].backward, "reference", transposed_dk)
    model = make_model()
    _, gradient = loss_and_gradient(model)
    with compose():
        _, composed_gradient = loss_and_gradient(model)
    difference = {
        name: np.abs(gradient[p.offset : p.offset + p.size] - composed_gradient[p.offset : p.offset + p.size]).max()
        for name, p in model.named_parameters()
    }
    assert difference["blocks.1.attn.qkv.weight"] > 1e-3
    assert difference["blocks.1.mlp.fc.weight"] < 1e-12  # backward reaches it before the wrong gradient
