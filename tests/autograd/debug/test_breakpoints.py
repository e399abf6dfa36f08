"""`break_on` stops backward where all that it was given holds, before the gradients of that step accumulate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autograd import Tensor, checkpoint, debug, modes, ops, use_backend
from autograd.debug import DebugError, Step, break_on
from minillm import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=16)
IDS = np.arange(16).reshape(2, 8) % 11


def gpt_and_loss() -> tuple[GPT, Tensor]:
    model = GPT(CONFIG, seed=3)
    return model, model.loss(IDS, IDS)


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def stops(loss: Tensor, **criteria: Any) -> list[str]:
    """Layer and op of each step at which it stopped."""
    seen: list[str] = []
    with break_on(**criteria, call=lambda step: seen.append(f"{step.node.layer}: {step.node.op}")):
        loss.backward(retain_graph=True)
    return seen


def test_an_op_stops_at_each_of_its_nodes_in_backwards_order() -> None:
    layers = ["ln_f", "blocks.1.ln2", "blocks.1.ln1", "blocks.0.ln2", "blocks.0.ln1"]
    assert stops(gpt_and_loss()[1], op="layernorm") == [f"{layer}: layernorm" for layer in layers]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("blocks.0.attn.proj", ["blocks.0.attn.proj: linear"]),
        ("blocks.0.attn", ["blocks.0.attn.proj: linear", "blocks.0.attn: attention", "blocks.0.attn.qkv: linear"]),
        ("blocks.*.ln1", ["blocks.1.ln1: layernorm", "blocks.0.ln1: layernorm"]),
        ("blocks.?.attn.qkv", ["blocks.1.attn.qkv: linear", "blocks.0.attn.qkv: linear"]),
    ],
)
def test_a_layer_stands_for_all_below_it_and_may_have_wildcards(layer: str, expected: list[str]) -> None:
    assert stops(gpt_and_loss()[1], layer=layer) == expected


def test_a_parameter_stops_where_it_gets_a_gradient_each_time_if_it_is_tied() -> None:
    _, loss = gpt_and_loss()
    assert stops(loss, param="token_embedding.weight") == ["(GPT): linear", "token_embedding: embedding"]
    assert stops(loss, param="blocks.*.ln1.bias") == ["blocks.1.ln1: layernorm", "blocks.0.ln1: layernorm"]


def test_a_norm_above_stops_at_large_gradients_only_and_at_nan() -> None:
    x, y = leaf(3.0, 4.0), leaf(1.0, 1.0)
    z = (x * 1).exp() * 0 + y * 100  # the gradient through the exponential is zero
    assert stops(z.sum(), norm_above=140) == ["None: multiply"]  # norm 100 * sqrt(2)
    assert stops(z.sum(), norm_above=142) == []
    with np.errstate(invalid="ignore"):
        assert stops((x * np.nan).sum(), norm_above=1e9) == ["None: multiply"]


@pytest.mark.parametrize(("dtype", "large"), [("float16", 300), ("float32", 1e30)])
def test_a_norm_is_right_where_its_squares_overflow_in_the_gradient_s_own_type(dtype: str, large: float) -> None:
    x = Tensor(np.ones(2, dtype), requires_grad=True)
    assert stops((x * large).sum(), norm_above=1.4 * large) == ["None: multiply"]
    assert stops((x * large).sum(), norm_above=1.5 * large) == []


def test_nonfinite_stops_at_the_first_gradient_that_is_not_finite_and_at_all_that_follow() -> None:
    x = leaf(0.0, 1.0)
    y = ops.sqrt(x * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert stops((y * 3).sum(), nonfinite=True) == ["None: sqrt", "None: multiply"]
    assert stops((x * 3).sum(), nonfinite=True) == []


def test_a_norm_above_may_be_a_number_of_numpys() -> None:
    assert stops((leaf(3.0, 4.0) * 1).sum(), norm_above=np.float32(1)) == ["None: reduce_sum", "None: multiply"]


def test_a_callback_may_run_a_backward_of_its_own_in_which_its_breakpoint_stops_nothing() -> None:
    other, seen = leaf(1.0, 2.0), []

    def look(step: Step) -> None:
        seen.append(str(step.node.op))
        (other * 2).sum().backward()

    with break_on(op="reduce_sum", call=look):
        (leaf(3.0) * 2).sum().backward()
    assert seen == ["reduce_sum"]
    np.testing.assert_array_equal(other.grad, [2, 2])


def test_gradients_that_nobody_wants_stop_nothing() -> None:
    one, x = Tensor(np.ones(1)), leaf(np.inf)  # x would be the gradient of the 1
    assert stops((x * one).sum(), nonfinite=True) == []
    assert stops((leaf(100.0) * one).sum(), norm_above=50) == []


def test_changed_stops_where_a_tensors_gradient_changes() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y.exp() + y * 3
    assert stops(z.sum(), changed=y) == ["None: multiply", "None: exp"]
    assert stops(z.sum(), changed=x) == ["None: multiply"]
    assert stops((z * 0).sum(), changed=x) == []  # by zero


def test_changed_stops_at_the_step_after_the_one_that_changed_an_array() -> None:
    a, b = leaf(1.0), leaf(1.0)
    a.grad, b.grad = np.zeros(1), np.zeros(1)
    loss = (a.exp() * b).sum()  # backward: sum, multiply (b's gradient), exp (a's)
    assert stops(loss, changed=b.grad) == ["None: exp"]


def test_changed_compares_with_the_step_before_also_where_other_criteria_do_not_hold() -> None:
    a, b = leaf(1.0), leaf(1.0)
    b.grad = np.zeros(1)
    loss = ((a * 2).exp() * b).sum()  # b's gradient has changed at exp, and not again at the product before it
    assert stops(loss, changed=b.grad, op="exp") == ["None: exp"]
    assert stops(loss, changed=b.grad, when=lambda step: step.index == 3) == []


def test_a_condition_is_handed_the_step() -> None:
    assert stops(gpt_and_loss()[1], when=lambda step: step.index in (0, 2)) == [
        "(GPT): cross_entropy",
        "ln_f: layernorm",
    ]


def test_all_that_is_given_must_hold() -> None:
    _, loss = gpt_and_loss()
    assert stops(loss, op="linear", layer="blocks.1.mlp", param="*.fc.*") == ["blocks.1.mlp.fc: linear"]
    assert stops(loss, op="linear", layer="blocks.1.ln1") == []
    assert stops(loss, layer="blocks.1.ln1", norm_above=1e9) == []
    assert stops(loss, layer="blocks.1.ln1", nonfinite=True) == []


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """The steps at which `breakpoint()` was called, from the frame in which it was."""
    steps: list[Step] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: steps.append(sys._getframe(1).f_locals["stop"]))
    return steps


def test_without_a_callback_it_is_breakpoint_with_the_step_called_stop(stopped: list[Step]) -> None:
    _, loss = gpt_and_loss()
    with break_on(layer="blocks.0.ln1"):
        loss.backward()
    assert [step.name.split(" #")[0] for step in stopped] == ["blocks.0.ln1: layernorm"]


def test_it_stops_before_the_gradients_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss = gpt_and_loss()
    weight = model.blocks[0].ln1.weight
    seen = []

    def look() -> None:
        step = sys._getframe(1).f_locals["stop"]
        seen.append((weight.gradient_set() is None, step.flows[1].name, step.flows[1].before))

    monkeypatch.setattr(sys, "breakpointhook", look)
    with break_on(layer="blocks.0.ln1"):
        loss.backward()
    assert seen == [(True, "blocks.0.ln1.weight", None)]
    assert weight.gradient_set() is not None


def gradient_with(edit: Callable[[Step], None] | None) -> Any:
    model, loss = gpt_and_loss()
    if edit is None:
        loss.backward()
    else:
        with break_on(layer="blocks.1.ln1", call=edit):
            loss.backward()
    return model.flat.grad.copy(), model.blocks[1].ln1.bias.grad.copy()


def test_a_break_on_that_only_looks_changes_no_bit_and_what_a_callback_edits_counts() -> None:
    plain, bias = gradient_with(None)
    looked, _ = gradient_with(lambda step: None)
    assert looked.tobytes() == plain.tobytes()

    def double(step: Step) -> None:
        step.dxs[2] *= 2

    edited, doubled = gradient_with(double)
    np.testing.assert_array_equal(doubled, 2 * bias)
    assert (edited != plain).sum() == bias.size


def test_several_each_have_their_say_and_stop_once(stopped: list[Step]) -> None:
    calls: list[int] = []
    x = leaf(1.0)
    with break_on(op="exp"), break_on(op="exp", call=lambda step: calls.append(step.index)), break_on(op="exp"):
        x.exp().backward()
    assert (len(stopped), calls) == (1, [0])


def test_clear_and_the_end_of_the_block_stop_it(stopped: list[Step]) -> None:
    x = leaf(1.0)
    first, second = break_on(op="exp"), break_on(op="exp")
    first.clear()
    first.clear()
    x.exp().backward()
    assert len(stopped) == 1
    second.clear()
    with break_on(op="exp") as inner:
        inner.clear()
        x.exp().backward()
    x.exp().backward()
    assert len(stopped) == 1
    assert modes.breakpoints.get() == ()


def test_run_and_stops_of_backward_steps_go_from_one_to_the_next() -> None:
    _, loss = gpt_and_loss()
    with break_on(layer="blocks.0.attn"):
        steps = loss.backward_steps()
        names = []
        while (step := steps.run()) is not None:
            names.append(str(step.node.op))
    assert names == ["linear", "attention", "linear"]
    assert steps.place == len(steps.tape)


def test_a_graph_stepped_by_breakpoints_is_freed_on_the_way_and_at_its_end() -> None:
    x = leaf(1.0)
    first = x.exp()
    last = first.exp().exp()
    freed: list[bool] = []
    with break_on(when=lambda step: freed.append(last.node.saved is None) or False):
        last.backward()
    assert freed == [False, False, True]  # one stays for the step at hand
    assert first.node is not None
    assert first.node.saved is None


def test_inside_a_checkpoint_it_stops_too() -> None:
    model = GPT(CONFIG, seed=3)

    def loss() -> Tensor:
        x = model.token_embedding(IDS)
        for block in model.blocks:
            x = checkpoint(block, x)
        return (x * x).sum()

    loss().backward()
    expected = model.flat.grad.copy()
    model.zero_grad()
    assert stops(loss(), layer="blocks.0.ln1") == ["blocks.0.ln1: layernorm"]
    np.testing.assert_array_equal(model.flat.grad, expected)


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "break_on.* was given nothing to stop at: give op=, layer="),
        ({"call": print}, "nothing to stop at"),
        ({"op": "layer_norm"}, "there is no op 'layer_norm': did you mean 'layernorm'"),
        ({"op": 3}, "op is 3: give its name, a string"),
        ({"norm_above": "10"}, "norm_above is '10': give a number of at least 0"),
        ({"norm_above": np.nan}, "norm_above is nan: give a number of at least 0"),
        ({"when": True}, "when is True: give a function"),
        ({"op": "exp", "call": 5}, "call is 5: give a function"),
        ({"changed": 3.0}, "changed is 3.0: give a Tensor"),
    ],
)
def test_a_wrong_criterion_is_refused_where_it_is_given(criteria: dict[str, Any], message: str) -> None:
    with pytest.raises(DebugError, match=message):
        break_on(**criteria)
    assert modes.breakpoints.get() == ()


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"layer": "blocks.0.atn"}, "there is no layer 'blocks.0.atn' on this tape: did you mean 'blocks.0.attn'"),
        ({"layer": "blocks.7.attn"}, "there is no layer 'blocks.7.attn' on this tape: did you mean 'blocks.1.attn'"),
        (
            {"param": "blocks.0.ln1.wieght"},
            "no parameter 'blocks.0.ln1.wieght' on this tape: did you mean 'blocks.0.ln1",
        ),
        ({"changed": leaf(1.0)}, "is not on this tape: give a Tensor that the loss was computed from"),
        ({"changed": leaf(1.0) * 2}, "is not on this tape: give a Tensor that the loss was computed from"),
    ],
)
def test_what_is_not_on_the_tape_is_refused_before_any_gradient_and_the_nearest_named(
    criteria: dict[str, Any], message: str
) -> None:
    model, loss = gpt_and_loss()
    with break_on(**criteria), pytest.raises(DebugError, match=message):
        loss.backward()
    assert all(parameter.gradient_set() is None for parameter in model.parameters())
    loss.backward()  # the graph is whole


def test_a_condition_that_raises_is_named_with_its_line_and_the_step() -> None:
    def never(step: Step) -> bool:
        return step.dx is not None

    line = never.__code__.co_firstlineno
    message = (
        rf"break_on\(when=...\) at \S*test_breakpoints.py:{line} raised AttributeError: 'Step' .*'dx'.* at step 0 \("
    )
    with break_on(when=never), pytest.raises(DebugError, match=message) as caught:
        gpt_and_loss()[1].backward()
    assert isinstance(caught.value.__cause__, AttributeError)


def test_with_fused_kernels_a_layer_inside_one_is_refused_with_what_to_do_and_found_then() -> None:
    pytest.importorskip("numba")
    with use_backend("numba"):
        model, loss = gpt_and_loss()
        assert stops(loss, layer="blocks.0") == ["blocks.0: feed_forward_half", "blocks.0: attention_half"]
        with break_on(layer="blocks.0.attn"), pytest.raises(DebugError, match=r"run the forward pass inside debug\(\)"):
            loss.backward()
        with debug.debug(model):
            loss = model.loss(IDS, IDS)
        assert len(stops(loss, layer="blocks.0.attn")) == 3


def test_without_a_debugger_in_a_notebook_it_says_so_before_any_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def debugpy_breakpointhook() -> None:
        """What ipykernel puts there: it does nothing while no client is connected."""

    connected = [False]
    monkeypatch.setattr(sys, "breakpointhook", debugpy_breakpointhook)
    debugpy = SimpleNamespace(is_client_connected=lambda: connected[0])
    monkeypatch.setitem(sys.modules, "debugpy", debugpy)
    model, loss = gpt_and_loss()
    with break_on(op="layernorm"):
        with pytest.raises(DebugError, match="has no debugger to stop in"):
            loss.backward()
        assert all(parameter.gradient_set() is None for parameter in model.parameters())
        step = loss.backward_steps().run()  # needs none
        assert step is not None
        connected[0] = True
        loss.backward()


def test_a_breakpoint_of_another_thread_stops_nothing_here() -> None:
    import threading

    thread = threading.Thread(target=lambda: break_on(op="exp"))
    thread.start()
    thread.join()
    assert modes.breakpoints.get() == ()
