"""The first number that is not finite is named where it came from: in forward, in backward, and never falsely.

The wishes of pytorch#160016 are among the cases: any NaN, in forward too, with the line that made it and not one before
or after; a NaN that forward drops and backward meets; infinities as an option.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case

from autograd import Op, Stream, Tensor, checkpoint, compose, no_grad, observe, ops, use_backend, use_stream
from autograd.debug import DebugError, NonFinite, NonFiniteError, debug
from autograd.debug.nonfinite_forward import Record
from minillm import GPT, GPTConfig
from minillm.generate import generate
from minillm.layers import LayerNorm
from minillm.module import Module
from minillm.optim import AdamW

CONFIG = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=16)
Function = Callable[[Tensor], Tensor]


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def batch() -> Any:
    return np.random.default_rng(0).integers(0, 11, (2, 2, 8))  # ids and targets, each (B, T)


def line_of(marker: str) -> tuple[str, int]:
    """(file, line) of the line of this file that ends with the comment."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if line.endswith(f"# <- {marker}"))
    return __file__, number


class Then(Module):
    """A layer, and then a function of its result."""

    def __init__(self, layer: Any, function: Function) -> None:
        self.layer, self.function = layer, function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


def spoiled(function: Function) -> GPT:
    """A GPT whose second feed-forward layer is followed by `function`."""
    model = GPT(CONFIG, seed=1)
    model.blocks[1].mlp = Then(model.blocks[1].mlp, function)
    return model


def origin_in(function: Function, *, inf: bool = True) -> NonFinite:
    """What debug() says about a training step of a GPT with `function` in it, before any gradient is touched."""
    model = spoiled(function)
    ids, targets = batch()
    with pytest.raises(NonFiniteError) as raised, debug(model, inf=inf):  # noqa: PT012  # the block is what is tested
        _, loss = model(ids, targets)
        assert loss is not None
        loss.backward()
        pytest.fail("it went on")
    return raised.value.origin


def test_a_log_of_zero_is_named_with_its_line_index_operand_and_the_way_it_went() -> None:
    def spoil(x: Tensor) -> Tensor:
        at = np.arange(2 * 8 * 16).reshape(2, 8, 16) == 37  # [0, 2, 5]
        y = ops.where(at, x * 0, 1 + x * x)
        return y.log()  # <- log of zero

    found = origin_in(spoil)
    assert (found.op, found.layer) == ("log", "blocks.1.mlp")
    assert found.user_line == line_of("log of zero")
    assert (found.index, found.value, found.count, found.shape) == ((0, 2, 5), -np.inf, 1, (2, 8, 16))
    (operand,) = found.operands
    assert (operand.name, operand.value) == ("x", 0)
    assert operand.summary is not None
    assert operand.summary.shape == (2, 8, 16)
    assert found.spread == (
        "log in blocks.1.mlp",
        "add in blocks.1",
        "layernorm in ln_f",
        "linear in (GPT)",
        "cross_entropy in (GPT)",
    )
    text = str(found)
    assert text.startswith("log in blocks.1.mlp gave -inf at [0, 2, 5], the first of 1 among 256 numbers\n")
    assert f"at {__file__}:{found.user_line[1]}: return y.log()" in text
    assert text.count(__file__) == 1
    assert "x = 0 there; (2, 8, 16) float32" in text or "x = -0 there; (2, 8, 16) float32" in text


def test_zero_by_zero_is_named() -> None:
    def spoil(x: Tensor) -> Tensor:
        zero = x * 0
        return x + zero / zero  # <- zero by zero

    found = origin_in(spoil)
    assert (found.op, found.layer, found.user_line) == ("divide", "blocks.1.mlp", line_of("zero by zero"))
    assert [(operand.name, operand.value) for operand in found.operands] == [("a", 0), ("b", 0)]
    assert np.isnan(found.value)


@pytest.mark.parametrize(("inf", "op", "marker"), [(True, "exp", "exp"), (False, "divide", "their share")])
def test_an_overflow_in_a_naive_softmax_is_named_as_infinity_or_as_nan(inf: bool, op: str, marker: str) -> None:
    def spoil(x: Tensor) -> Tensor:
        e = (x * 1e6).exp()  # <- exp
        return e / e.sum(-1, keepdims=True)  # <- their share

    found = origin_in(spoil, inf=inf)
    assert (found.op, found.layer, found.user_line) == (op, "blocks.1.mlp", line_of(marker))
    assert found.operands[0].value is not None
    assert found.operands[0].value > 88


def test_a_square_that_overflows_is_named_and_not_the_norm_that_it_spoils() -> None:
    def spoil(x: Tensor) -> Tensor:
        x = x * 1e24
        return x * x  # <- square

    found = origin_in(spoil)
    assert (found.op, found.layer, found.user_line) == ("multiply", "blocks.1.mlp", line_of("square"))
    assert "layernorm in ln_f" in found.spread
    assert all(1e19 < abs(operand.value or 0) < 3.4e38 for operand in found.operands)


@pytest.mark.parametrize("lr", [1e3, 1e12, 1e20, 1e30, 1e39])
def test_a_bad_learning_rate_is_named_at_the_first_op_it_breaks(lr: float) -> None:
    model = GPT(GPTConfig.preset("nano"), seed=2)
    optimizer = AdamW(model, lr=lr)
    ids, targets = np.random.default_rng(1).integers(0, model.config.vocab_size, (2, 2, 16))  # each (B, T)
    seen: list[tuple[str, str | None]] = []

    def note(op: Op, inputs: Any, attributes: Any, y: Tensor) -> None:
        if not np.isfinite(y.data).all():
            assert y.node is not None
            seen.append((op.name, y.node.layer))

    with pytest.raises(NonFiniteError) as raised:  # noqa: PT012  # which step it is depends on the rate
        for _ in range(40):
            with debug(model), observe(note):
                optimizer.zero_grad()
                _, loss = model(ids, targets)  # <- step
                assert loss is not None
                loss.backward()
            with np.errstate(all="ignore"):
                optimizer.step(1.0)
            if lr == 1e3:  # LayerNorm bears even that: what comes after is a larger one
                optimizer.lr *= 1e3
    found = raised.value.origin
    assert found.user_line == line_of("step")
    if seen:
        assert (found.op, found.layer) == seen[0]
    else:
        assert found.sentence.startswith("the backward of ")
    if not np.isfinite(model.flat.data).all():
        assert re.match(r"the parameter \S+ came in with", found.sentence)


def test_a_parameter_that_came_in_with_nan_is_named() -> None:
    model = GPT(CONFIG)
    model.blocks[1].attn.qkv.weight.data[3, 4] = np.nan
    ids, targets = batch()
    said = r"the parameter blocks\.1\.attn\.qkv\.weight came in with nan"
    with pytest.raises(NonFiniteError, match=said) as raised, debug(model):
        model(ids, targets)
    found = raised.value.origin
    assert (found.index, found.count, found.op, found.layer) == ((3, 4), 1, "linear", "blocks.1.attn.qkv")
    assert found.layer_line is not None
    assert found.layer_line[0].endswith("linear.py")


def test_data_that_came_in_with_infinity_is_named() -> None:
    x, weight = np.array([[1.0, np.inf, np.inf]]), leaf(1, 1, -1)
    with pytest.raises(NonFiniteError, match=r"what matmul was handed as a came in with inf at \[0, 1\]"), debug():
        ops.matmul(x, weight).sum().backward()
    said = r"in forward, what matmul was handed as a came in .*, until tanh .* dropped it"
    with pytest.raises(NonFiniteError, match=said), debug():
        ops.matmul(x[:, :2], weight[:2]).tanh().sum().backward()


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_an_op_was_handed_is_named(case: Case, composed: bool) -> None:
    op = Op.registry[case.op]
    for i in case.wrt(case.make()):
        for wrong in (np.nan, np.inf, -np.inf):
            inputs = case.make()
            if not inputs[i].size:
                continue
            inputs[i].flat[-1] = wrong
            with np.errstate(all="ignore"):
                got_out = not np.isfinite(case.run(inputs)[0]).all()
            inputs[i] = Tensor(inputs[i], requires_grad=True)
            inputs[i].name = "x"
            said = "the parameter x came in with (nan|-?inf)"
            expected = pytest.raises(NonFiniteError, match=said) if got_out else nullcontext()
            with expected, debug(), compose(composed):
                op(*inputs, **case.attributes)


def test_a_nan_out_of_an_infinite_number_is_named_with_both_operands() -> None:
    with pytest.raises(NonFiniteError, match="multiply gave nan at") as raised, debug():
        (leaf(0) * np.inf).sum().backward()
    assert {operand.name: operand.value for operand in raised.value.origin.operands} == {"a": 0, "b": np.inf}


# ------------------------------------------------------------------------------------------------- backward alone
def log_where_positive(x: Tensor) -> Tensor:
    logs = x.log()  # <- dropped log
    return ops.where(x.data > 0, logs, 0)  # <- drops


def share_where_positive(x: Tensor) -> Tensor:
    return ops.where(x.data > 0, x / x, 0)


def steep(x: Tensor) -> Tensor:
    return x * 1e-300 * 1e200 * 1e200


@pytest.mark.parametrize(
    ("function", "op", "value"),
    [
        (log_where_positive, "log", np.nan),
        (share_where_positive, "divide", np.nan),
        (lambda x: x.sqrt(), "sqrt", np.inf),
        (lambda x: x**0.5, "power", np.inf),
        (lambda x: (x * x).sum(-1).sqrt(), "sqrt", np.inf),
        (steep, "multiply", np.inf),
    ],
)
def test_a_nan_that_backward_alone_makes_is_named_at_the_forward_op(function: Function, op: str, value: float) -> None:
    x = Tensor(np.array([[1.0, 4.0], [0.0, 0.0]]), requires_grad=True)
    before = x * 1
    with pytest.raises(NonFiniteError) as raised, debug():  # noqa: PT012
        loss = function(x * 1).sum()
        assert np.isfinite(loss.data)
        loss.backward()
    found = raised.value.origin
    assert found.op == op
    assert found.sentence.startswith(f"the backward of {op} made ")
    np.testing.assert_equal(abs(found.value), value)
    assert found.user_line is not None
    assert found.user_line[0] == __file__
    assert x.grad is None
    assert before.grad is None


def test_what_forward_dropped_is_told_with_who_dropped_it() -> None:
    x = leaf(1, 0, 2)
    with pytest.raises(NonFiniteError) as raised, debug():
        log_where_positive(x).sum().backward()
    found = raised.value.origin
    assert (found.user_line, found.index) == (line_of("dropped log"), (1,))
    assert {operand.name: operand.value for operand in found.operands} == {"dy": 0, "x": 0}
    at, drops = (f"test_nonfinite.py:{line_of(marker)[1]}" for marker in ("dropped log", "drops"))
    assert "in forward, log gave -inf at [1], the first of 1 among 3 numbers" in found.hint
    assert f"({at}), until where ({drops}) dropped it" in found.hint


def test_what_forward_dropped_later_on_is_told_too() -> None:
    x = leaf(1, 0, 2)
    with pytest.raises(NonFiniteError, match=r"in forward, log gave -inf .*, until where .* dropped it"), debug():
        ops.where(x.data > 0, x.log() * 2 + 1, 0).sum().backward()


def test_in_a_gpt_it_has_the_layer_too() -> None:
    found = origin_in(lambda x: (x * 0).sqrt())
    assert (found.op, found.layer) == ("sqrt", "blocks.1.mlp")
    assert found.sentence.startswith("the backward of sqrt in blocks.1.mlp made ")


def halve_forward(x: Any) -> Any:
    return x / 2, (x,)


def halve_backward(dy: Any, x: Any) -> Any:
    return (dy * x / x / 2,)


@pytest.mark.usefixtures("own_ops_are_forgotten")
def test_a_hand_written_backward_that_divides_by_zero_is_named() -> None:
    halve = Op(halve_forward, halve_backward)
    with (
        pytest.raises(NonFiniteError, match=r"the backward of halve made nan at \[1\].* of the gradient of its x"),
        debug(),
    ):
        halve(leaf(1, 0)).sum().backward()


def test_infinities_are_let_through_on_request_and_nan_is_not() -> None:
    x = leaf(0, 1)
    with debug(inf=False):
        (x.sqrt() + (x * 0 - 1e400)).sum().backward()
    assert x.grad is not None
    assert np.isinf(x.grad[0])
    with pytest.raises(NonFiniteError, match=r"multiply gave nan at \[1\], the first of 1 among 2"), debug(inf=False):
        (Tensor(np.array([np.inf, 0])) * np.inf).sum()
    with pytest.raises(NonFiniteError, match="the backward of log made nan"), debug(inf=False):
        ops.where(x.data > 0, x.log(), 0).sum().backward()


def test_gradients_that_only_together_are_infinite_are_named() -> None:
    x = leaf(1)
    with pytest.raises(NonFiniteError, match="the gradients of what multiply gave add up to inf"), debug():  # noqa: PT012
        y = x * 1e-300
        (y * 1e308 + y * 1e308).sum().backward()
    x.name = "x"
    with pytest.raises(NonFiniteError, match="the gradients of x add up to inf"), debug():
        ((x - 1) * 1e308 + (x - 1) * 1e308).sum().backward()


def test_a_gradient_left_from_before_is_named() -> None:
    x = leaf(1, 2)
    x.name, x.grad = "x", np.array([1, np.nan])
    with pytest.raises(NonFiniteError, match=r"the gradient of x was nan at \[1\].* before this backward\(\)"), debug():
        (x * x).sum().backward()


def test_an_upstream_gradient_that_is_infinite_is_named() -> None:
    with pytest.raises(NonFiniteError, match=r"backward\(\) was handed an upstream gradient of inf"), debug():
        (leaf(1) * 2).backward(np.inf)


def test_stepping_raises_before_the_gradient_accumulates_and_takes_a_mended_one() -> None:
    x = leaf(0, 1)
    with debug():
        steps = ((x * 7).sqrt() * 3).sum().backward_steps()
        next(steps), next(steps)
        step = next(steps)
        assert step.node.op.name == "sqrt"
        with pytest.raises(NonFiniteError, match=r"the backward of sqrt made inf at \[0\]"):
            next(steps)
        assert x.grad is None
        assert steps.step is step
        step.dxs[0] = np.array([0, 0.5])
        next(steps)
        steps.back()
        step.dxs[0] = np.array([0, np.inf])
        with pytest.raises(NonFiniteError, match=r"the backward of sqrt made inf at \[1\](.|\n)*  dy = 3 there"):
            next(steps)
        step.dxs[0] = np.array([0, 0.5])
        next(steps)
        assert list(steps) == []
    np.testing.assert_array_equal(x.grad, [0, 3.5])


# ------------------------------------------------------------------------------------------------- no false alarms
def masks() -> list[Any]:
    padding = np.ones((2, 8), bool)
    padding[0, 5:] = padding[1] = False  # a row of nothing but padding too
    documents = np.array([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 2, 2]])
    return [None, padding, documents[:, :, None] == documents[:, None, :]]


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("mask", masks(), ids=["no mask", "padding", "documents"])
def test_finite_training_is_let_through_and_its_gradients_are_the_same(mask: Any, composed: bool) -> None:
    config = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=16, dropout=0.2)
    ids, targets = batch()
    gradients = []
    for on in (False, True):
        model = GPT(config, seed=4)
        with use_stream(Stream(3)), compose(composed), debug(model) if on else nullcontext():
            _, loss = model(ids, targets, mask=mask)
            assert loss is not None
            loss.backward()
        gradients.append(model.flat.grad.copy())
    np.testing.assert_array_equal(*gradients)


def test_generation_is_let_through() -> None:
    model = GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=1, n_head=2, d_model=8))
    with debug(model):
        assert len(list(generate(model, [1, 2], 10, top_k=3))) == 10  # past the context too


def test_scores_masked_with_minus_infinity_are_let_through_but_a_row_of_nothing_else_is_named() -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    allowed = np.array([[True, False, True], [False, False, False]])
    with debug():
        ops.softmax(ops.where(allowed[:1], x, -np.inf)).sum().backward()
        ops.softmax(x + np.where(allowed[:1], 0, -np.inf)).sum().backward()
        scores = ops.where(allowed[:1], x, -np.inf)
        ops.softmax(ops.concatenate(scores.reshape(3, 2).transpose(), scores.reshape(2, 3), axis=1)).sum().backward()
    with pytest.raises(NonFiniteError, match=r"softmax gave nan at \[1, 0\]") as raised, debug():  # noqa: PT012
        scores = ops.where(allowed, x, -np.inf)  # <- masks
        ops.softmax(scores).sum().backward()
    assert f"put there by where, test_nonfinite.py:{line_of('masks')[1]}" in raised.value.origin.hint


def test_an_infinity_beside_masked_ones_is_named_and_not_the_mask() -> None:
    x = leaf(1000, 1, 2)
    with pytest.raises(NonFiniteError, match=r"exp gave inf at \[0\], the first of 1 "), debug():
        ops.where(np.array([True, False, True]), x, -np.inf).exp().sum().backward()


def test_an_infinity_that_a_later_op_makes_finite_is_let_through() -> None:
    x = Tensor(np.array([-800.0, 3.0]), requires_grad=True)
    with debug():
        y = 1 / (1 + (-x).exp())
    np.testing.assert_allclose(y.data, [0, 1 / (1 + np.exp(-3))])


# ------------------------------------------------------------------------------------------- where and when it raises
def test_without_backward_it_raises_at_the_end_of_the_block_and_under_no_grad_too() -> None:
    reached = False
    with pytest.raises(NonFiniteError) as raised, debug(), no_grad():  # noqa: PT012
        x = leaf(1, 0)
        y = x.log()  # <- first result
        y.mean()
        (x / 0).sum()
        reached = True
    assert reached
    assert raised.value.origin.user_line == line_of("first result")
    assert raised.value.origin.spread == ("log", "reduce_mean")


def test_the_way_leads_through_detached_tensors_and_their_arrays() -> None:
    with pytest.raises(NonFiniteError) as raised, debug():  # noqa: PT012
        y = leaf(0).log().detach()
        z = Tensor((y * 2).data)
        ops.exp(ops.multiply(z.data, leaf(-1))).sum()
    assert raised.value.origin.spread == ("log", "multiply", "multiply", "exp", "reduce_sum")


def test_another_exception_goes_through_with_a_note() -> None:
    with pytest.raises(KeyError, match="mine") as raised, debug():  # noqa: PT012
        leaf(0).log()
        raise KeyError("mine")
    (note,) = raised.value.__notes__
    assert note.startswith("debug(): before this, log gave -inf at [0]")
    with pytest.raises(KeyError, match="mine") as raised, debug():  # noqa: PT012
        leaf(1).log()
        raise KeyError("mine")
    assert not hasattr(raised.value, "__notes__")


def test_backward_of_a_leaf_is_let_through() -> None:
    x = leaf(2)
    with debug():
        x.backward()
    np.testing.assert_array_equal(x.grad, [1])


def test_a_caught_error_is_raised_once() -> None:
    with debug():
        with pytest.raises(NonFiniteError):
            leaf(0).log().sum().backward()
        (leaf(1) * 2).sum().backward()


def test_a_loss_from_before_the_block_is_said_to_be() -> None:
    with np.errstate(all="ignore"):
        loss = leaf(0).log().sum()
    with pytest.raises(NonFiniteError, match=r"starts from -inf, computed before debug\(\)"), debug():
        loss.backward()


def test_a_long_way_is_shortened() -> None:
    with pytest.raises(NonFiniteError) as raised, debug():  # noqa: PT012
        y = leaf(0).log()
        for _ in range(3000):
            y = y + 1
    assert len(raised.value.origin.spread) == 3001
    assert "log -> add -> add -> add -> 2993 more -> add -> add -> add -> add" in str(raised.value)


def test_numpy_warns_again_after_the_block() -> None:
    with debug():
        ops.where(np.array([False]), leaf(0).log(), 1.0)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        leaf(0).log()


def test_an_observer_around_it_goes_on_observing() -> None:
    names = []
    with observe(lambda op, *_: names.append(op.name)), debug():
        leaf(1).log().sum()
    assert names == ["log", "reduce_sum"]


def test_a_long_block_keeps_nothing_of_the_steps_before() -> None:
    model, (ids, targets) = GPT(CONFIG), batch()

    def kept() -> int:
        gc.collect()
        return sum(type(thing) is Record for thing in gc.get_objects())  # isinstance() would ask lazy modules

    counts = []
    with debug(model), compose():
        for _ in range(3):
            loss = model.loss(ids, targets)
            assert kept() > 0  # the masked scores
            loss.backward()
            del loss
            counts.append(kept())
    assert counts == [0, 0, 0]


def test_it_takes_models_and_names_their_parts() -> None:
    layer = Then(lambda x: x, lambda x: x.log())
    assert layer.path is None
    with pytest.raises(NonFiniteError) as raised, debug(layer):
        layer(leaf(0))
    assert raised.value.origin.layer == "(Then)"
    model = GPT(CONFIG)
    with debug(model.blocks[0]):
        assert model.blocks[0].attn.qkv.path == "blocks.0.attn.qkv"
    with pytest.raises(DebugError, match="debug\\(\\) was given Tensor, which is no model"), debug(leaf(1)):
        pass


def test_a_model_need_not_be_called() -> None:
    class Uncalled(Module):
        def loss(self, x: Tensor) -> Tensor:
            return x.log()

    model = Uncalled()
    with pytest.raises(NonFiniteError, match=r"log in \(Uncalled\)"), debug(model):
        model.loss(leaf(0))


def test_what_went_by_way_of_numpy_is_traced_to_what_no_op_took_up() -> None:
    def compute() -> None:
        z = Tensor(leaf(0, 1).log().numpy() * 2, requires_grad=True)
        (z * z).sum().backward()

    with pytest.raises(NonFiniteError) as raised, debug():
        compute()
    text = str(raised.value)
    assert "what multiply was handed as a came in with -inf at [0]" in text
    assert re.search(r"before it, log gave -inf at \[0\], .* \(test_nonfinite.py:\d+\), and no op took that up", text)


# ----------------------------------------------------------------------------------------- checkpoints and devices
def test_a_checkpoint_is_looked_into() -> None:
    x = leaf(0, 1)
    with pytest.raises(NonFiniteError) as raised, debug():
        checkpoint(lambda t: (t * 2).log() + 1, x).sum().backward()
    assert (raised.value.origin.op, raised.value.origin.spread) == ("log", ("log", "add", "reduce_sum"))


def test_a_gradient_that_is_made_in_a_checkpoint_is_named_at_its_line() -> None:
    x = leaf(0, 1)
    with pytest.raises(NonFiniteError) as raised, debug():  # noqa: PT012
        y = checkpoint(
            lambda t: (t * 2).sqrt(),  # <- within
            x,
        )
        y.sum().backward()
    assert (raised.value.origin.op, raised.value.origin.user_line) == ("sqrt", line_of("within"))
    norm = LayerNorm(4, eps=0, dtype="float32")
    with pytest.raises(NonFiniteError, match="backward of layernorm") as raised, debug(norm):  # noqa: PT012
        y = checkpoint(norm, Tensor(np.zeros((2, 4), "float32"), requires_grad=True))  # <- checkpoint
        ops.where(np.zeros((2, 4), bool), y, 1).sum().backward()
    assert raised.value.origin.user_line == line_of("checkpoint")


def test_masked_scores_out_of_a_checkpoint_are_let_through() -> None:
    x = leaf(1, 2)
    with debug():
        scores = checkpoint(lambda t: ops.where(np.array([True, False]), t, -np.inf), x)
        ops.softmax(scores).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_it_looks_at_arrays_on_a_device(strict_cupy: type[standin.Waits]) -> None:
    def on_device(*values: float) -> Tensor:
        return Tensor(standin.ndarray(np.array(values, float)), requires_grad=True)

    with use_backend("cupy"):
        with pytest.raises(NonFiniteError, match=r"log gave -inf at \[1\], the first of 1 among 2"), debug():
            on_device(1, 0).log().sum().backward()
        with pytest.raises(NonFiniteError, match=r"the backward of sqrt made inf at \[0\]"), debug():
            on_device(0, 1).sqrt().sum().backward()
        with debug():
            x = on_device(1, 2)
            ops.softmax(ops.where(standin.ndarray(np.array([True, False])), x, -np.inf)).sum().backward()
