"""Hand-written against composed: rounding is told from a bug, and a bug by the first name it shows in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case

from autograd import Op, Tensor, modes, no_grad, observe, use_backend
from autograd.debug import DebugError, break_on, compare
from autograd.debug.both_ways import Both
from autograd.debug.comparison import Comparison, Row, row_of
from autograd.gradcheck import GradcheckError
from minillm import GPT, GPTConfig
from minillm.layers import LayerNorm
from minillm.layers.activations import gelu
from minillm.layers.attention import attention
from minillm.layers.dropout import Dropout
from minillm.layers.layernorm import layernorm

COMPOSED = [case for case in CASES if Op.registry[case.op].composed]


def normal(*shape: int) -> Any:
    return np.random.default_rng(shape).standard_normal(shape)


def called(case: Case) -> Any:
    return lambda *inputs: Op.registry[case.op](*inputs, **case.attributes)


@pytest.mark.parametrize("case", COMPOSED, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rounding_explains_all_that_an_op_and_its_composition_differ_by(case: Case, dtype: str) -> None:
    found = compare(called(case), *case.make(dtype))
    assert found.different == []
    assert found.dtype == dtype


@pytest.mark.parametrize("op", sorted({case.op for case in COMPOSED}))
def test_a_gradient_off_by_one_part_in_ten_thousand_is_different_in_float32(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Op.registry[op].backward.reference

    def wrong(dy: Any, *saved: Any) -> Any:
        return [None if dx is None else dx * dx.dtype.type(1.0001) for dx in right(dy, *saved)]

    monkeypatch.setattr(Op.registry[op].backward, "reference", wrong)
    case = next(case for case in COMPOSED if case.op == op)
    found = compare(called(case), *case.make("float32"))
    assert found.different
    assert {row.kind for row in found.different} == {"gradient"}


@pytest.mark.parametrize(
    ("op", "values", "gradients"),
    [
        ("layernorm", {"mean", "xc", "xhat"}, {"xhat"}),
        ("attention", {"q", "k", "v", "probs"}, {"q", "k", "v", "scores"}),
        ("cross_entropy", {"shifted", "e", "total", "nll"}, set()),
        ("gelu", {"cdf"}, set()),
        ("gelu_tanh", {"s"}, set()),
        ("softmax", {"e"}, set()),
        ("attention_half", {"qkv"}, {"qkv"}),
        ("feed_forward_half", {"h"}, {"h"}),
        ("head_loss", {"logits"}, {"logits"}),
    ],
)
def test_intermediates_are_compared_by_the_names_that_both_paths_give_them(
    op: str, values: set[str], gradients: set[str]
) -> None:
    case = next(case for case in COMPOSED if case.op == op)
    found = compare(called(case), *case.make())
    assert values <= {row.name for row in found.rows if row.kind == "value"}
    assert gradients <= {row.name for row in found.rows if row.kind == "gradient"}
    assert not set(found.only_handwritten) & set(found.only_composed)


def test_a_primitive_has_one_path_and_is_exact() -> None:
    found = compare(lambda x: (x.exp() * x).sum(), normal(2, 3))
    assert {row.verdict for row in found.rows} == {"exact"}
    assert ("x", "gradient") in {(row.name, row.kind) for row in found.rows}


def test_dropout_drops_the_same_both_ways() -> None:
    found = compare(Dropout(0.5), np.ones((8, 8)))
    assert found.different == []
    assert found["x", "gradient"].shape == (8, 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_computes_in_the_dtype_that_is_asked_for(dtype: str) -> None:
    norm = LayerNorm(5, dtype="float32")  # float32
    x = normal(3, 5)
    assert compare(norm, x).dtype == "float64"  # the widest
    found = compare(norm, x, dtype=dtype)
    assert found.dtype == dtype
    assert not found.different
    digits = {"float32": 24, "float64": 53}[dtype]
    assert 2.0 ** -(digits + 4) < max(row.absolute for row in found.rows) < 2.0 ** -(digits - 8)


def test_parameters_their_gradients_and_inputs_stay_as_they_were() -> None:
    norm, x = LayerNorm(5, dtype="float32"), Tensor(np.ones((3, 5), np.float32), requires_grad=True)
    norm.weight.grad = np.full(5, 2, np.float32)
    weight, grad = norm.weight.data, norm.weight.grad
    compare(norm, x, dtype="float64")
    assert norm.weight.data is weight
    assert norm.weight.grad is grad
    np.testing.assert_array_equal(grad, 2)
    assert norm.bias is not None
    assert norm.bias.grad is None
    assert x.grad is None


def test_parameters_that_a_function_reaches_by_itself_are_compared() -> None:
    norm = LayerNorm(5, dtype="float32")
    norm.weight.name = "scale"
    found = compare(lambda x: norm(x), np.ones((3, 5)))
    assert {"x", "scale"} < {row.name for row in found.rows if row.kind == "gradient"}


def test_the_callers_modes_have_no_part_in_it() -> None:
    seen: list[Op] = []
    with observe(lambda op, *_: seen.append(op)), break_on(op="gelu"), no_grad():
        found = compare(gelu, normal(2, 3))
        assert modes.observers.get()
    assert found.rows
    assert not found.different
    assert seen == []


def test_random_numbers_go_on_as_if_nothing_had_happened() -> None:
    np.random.seed(3)  # noqa: NPY002  # a user's layer may draw from it
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    compare(gelu, np.ones(3))
    assert np.random.rand() == expected  # noqa: NPY002


# --- verdicts ---------------------------------------------------------------------------------------------------------


def row(handwritten: Any, composed: Any, noise: float = 0.0) -> Any:
    a, b = np.asarray(handwritten), np.asarray(composed)
    return row_of("x", "value", a, b, np.full(a.shape, noise), "float64")


def test_the_same_bits_are_exact_also_where_they_are_no_numbers() -> None:
    assert row([1.0, np.nan, np.inf], [1.0, np.nan, np.inf]).verdict == "exact"
    assert row([True, False], [True, False]).verdict == "exact"
    assert row(np.zeros((0, 3)), np.zeros((0, 3))).verdict == "exact"


def test_a_difference_within_64_roundings_and_their_noise_is_approximate() -> None:
    eps = 2.0**-52
    found = row([3.0, 1 + 60 * eps], [3.0, 1.0])
    assert found.verdict == "approximate"
    assert found.absolute == 60 * eps
    assert found.relative == 20 * eps
    assert found.of_bound == 60 / 64
    assert row([3.0, 1 + 70 * eps], [3.0, 1.0]).verdict == "different"
    assert row([3.0, 1 + 70 * eps], [3.0, 1.0], noise=eps).verdict == "approximate"


def test_the_lost_digits_of_tiny_numbers_are_rounding() -> None:
    assert row([1.0, 3.818490155682e-311], [1.0, 3.818490155692e-311]).verdict == "approximate"
    assert row([1.0, 1e-300], [1.0, 2e-300]).verdict == "different"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 33, 46, 53])  # without noise of what is saved, the last three do
def test_a_softmax_that_is_one_key_or_another_raises_no_false_alarm(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    qkv = (30 * rng.standard_normal((2, 6, 24))).astype(dtype)  # (B, T, 3C)
    assert compare(lambda qkv: attention(qkv, n_head=2), qkv).different == []


def test_numbers_that_cancel_raise_no_false_alarm() -> None:
    x = (1e3 + normal(4, 32)).astype(np.float32)
    assert compare(layernorm, x, np.ones(32, np.float32), np.zeros(32, np.float32)).different == []


@pytest.mark.parametrize(
    ("handwritten", "composed"),
    [([1.0, np.nan], [1.0, 2.0]), ([1.0, np.inf], [1.0, 2.0]), ([np.inf], [-np.inf]), ([1.0], [1.0, 1.0])],
)
def test_what_is_not_finite_on_one_side_or_of_another_size_is_different(handwritten: Any, composed: Any) -> None:
    found = row(handwritten, composed, noise=1.0)
    assert found.verdict == "different"
    assert found.absolute == np.inf


def test_merged_rows_are_read_in_their_order() -> None:
    a = np.arange(6.0)
    assert row(a.reshape(2, 3), a).verdict == "exact"


def test_a_number_that_no_draw_happens_to_move_has_the_noise_of_its_row() -> None:
    both = Both(lambda x: x.tanh(), (normal(3, 500),), None)
    noise = both.noise(both.run(both.values))["tanh", "value"]
    assert (noise.min(-1) >= noise.mean(-1) / 2).all()


# --- what cannot be compared ------------------------------------------------------------------------------------------


def test_a_layer_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(DebugError, match=r"there is no layer 'block' .*LayerNorm runs"):
        compare(LayerNorm(3, dtype="float32"), np.ones((2, 3)), layer="block")


def test_a_function_without_anything_that_gets_a_gradient_says_so() -> None:
    with pytest.raises(DebugError, match="nothing that gets a gradient"):
        compare(lambda n: Tensor(np.ones(3)), 3)


def test_a_function_whose_output_has_no_history_says_so() -> None:
    with pytest.raises(DebugError, match="without history"):
        compare(lambda x: Tensor(x.data), np.ones(3))


def test_a_function_that_returns_no_tensor_says_so() -> None:
    with pytest.raises(GradcheckError, match="return a Tensor"):
        compare(lambda x: x.data, np.ones(3))


def test_a_row_that_is_not_there_is_told_with_the_nearest() -> None:
    found = compare(gelu, np.ones(3))
    with pytest.raises(DebugError, match=r"no row 'gradient of z' .*did you mean 'gradient of x'"):
        found["z", "gradient"]


@pytest.mark.usefixtures("own_ops_are_forgotten")
def test_an_op_without_a_composition_is_not_said_to_be_compared() -> None:
    def cube_forward(x: Any) -> Any:
        return x**3, (x,)

    def cube_backward(dy: Any, x: Any) -> Any:
        return (4 * dy * x * x,)

    cube = Op(cube_forward, cube_backward)
    found = compare(lambda x: cube(x) * 2, np.ones(3))
    assert found.not_composed == ["cube"]
    assert str(found).splitlines()[1].startswith("hand-written both times, so not compared, ")
    assert compare(LayerNorm(3, dtype="float64"), np.ones((1, 3))).not_composed == []


def test_arrays_of_a_device_are_compared_there(strict_cupy: type[standin.Waits]) -> None:
    with use_backend("cupy"):
        model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=1, n_head=1, d_model=4))
    ids = np.array([[1, 5, 2, 2]])
    for function, inputs in (
        (model, (ids, ids)),
        (lambda x: model.loss(x, x), (ids,)),  # whose parameters it has to find
        (model.ln_f, (np.ones((2, 4), "float32"),)),
    ):
        found = compare(function, *inputs)
        assert found.different == []
        assert "ln_f.weight" in {row.name for row in found.rows if row.kind == "gradient"}
    assert type(model.flat.data) is type(model.ln_f.weight.data) is standin.ndarray


def test_what_is_no_function_and_a_layer_that_is_no_path_are_named() -> None:
    with pytest.raises(DebugError, match=r"compare\(\) was given int: give a model, a layer or a function"):
        compare(3)
    with pytest.raises(DebugError, match="layer is 3: give its path, a string"):
        compare(LayerNorm(2, dtype="float64"), np.ones((1, 2)), layer=3)


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_a_dtype_that_is_none_of_the_two_is_told(dtype: str) -> None:
    with pytest.raises(DebugError, match="choose one of 'float64', 'float32'"):
        compare(gelu, np.ones(3), dtype=dtype)


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_row_and_fits_a_terminal() -> None:
    found = compare(LayerNorm(5, dtype="float32"), normal(3, 5))
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("LayerNorm, hand-written against composed (float64): ")
    assert [line.split()[0] for line in lines[2:] if not line.startswith((" ", "only"))] == [r.name for r in found.rows]


def test_long_names_lose_their_beginning_and_many_are_not_all_listed() -> None:
    row = Row("blocks.11." + "a" * 90 + ".probs", "gradient", (12, 12, 1024, 1024), "different", 1.0, 1.0, 9.0)
    names = [f"blocks.{i}.attn.scores" for i in range(500)]
    lines = str(Comparison("GPT", "*", "float32", [row], names, [], [])).splitlines()
    assert max(map(len, lines)) <= 100 + len(row.name)  # the last line has it whole
    assert max(map(len, lines[:-1])) <= 100
    assert ".probs  gradient  (12, 12, 1024, 1024)  different     1.0e+00   1.0e+00" in lines[2]
    assert len(lines) < 10
