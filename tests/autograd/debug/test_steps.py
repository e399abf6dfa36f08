"""Stepping through backward: the same as `backward` to the last bit, back to the last bit, edits as by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import standin
from hypothesis import given
from hypothesis import strategies as st

from autograd import GradientError, GraphFreedError, Op, Stream, Tensor, checkpoint, ops, use_backend, use_stream
from autograd.debug import DebugError, Steps
from autograd.debug.stepped_pass import SteppedPass
from minillm import GPT, GPTConfig
from minillm.layers.dropout import dropout

Gradients = dict[str, tuple[bool, bytes]]


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def gradients(model: GPT) -> Gradients:
    """Whether each gradient is set, and its bytes: two zeros of different sign differ."""
    found = {}
    for name, parameter in model.named_parameters():
        grad = parameter.gradient_set()
        found[name] = (grad is not None, b"" if grad is None else grad.tobytes())
    return found


def gpt(**changes: Any) -> GPT:
    values = {"vocab_size": 11, "context_length": 8, "n_layer": 2, "n_head": 2, "d_model": 16, **changes}
    return GPT(GPTConfig(**values), seed=3)


def batch(B: int = 2, T: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    ids, targets = np.random.default_rng(seed).integers(0, 11, (2, B, T))
    return ids, targets


CONFIGS = st.fixed_dictionaries(
    {
        "n_layer": st.integers(1, 2),
        "n_head": st.sampled_from([1, 2]),
        "d_model": st.sampled_from([8, 16]),
        "tie_embeddings": st.booleans(),
        "bias": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.3]),
        "activation": st.sampled_from(["gelu_tanh", "relu"]),
        "dtype": st.sampled_from(["float32", "float64"]),
    }
)


@given(
    config=CONFIGS,
    B=st.integers(1, 2),
    T=st.integers(1, 8),
    backend=st.sampled_from(["numpy", "numba"]),
    passes=st.integers(1, 2),
    scale=st.sampled_from([None, 1024.0]),
)
def test_stepping_to_the_end_is_backward_bit_for_bit(
    config: dict[str, Any], B: int, T: int, backend: str, passes: int, scale: float | None
) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    seen = []
    for stepped in (False, True):
        with use_backend(backend), use_stream(Stream(seed=5)):
            model = gpt(**config)
            for i in range(passes):  # the second adds to what the first left
                loss = model.loss(*batch(B, T, seed=i))
                if stepped:
                    steps = loss.backward_steps(scale)
                    assert [step.node for step in steps] == steps.tape
                else:
                    loss.backward(scale)
        seen.append(gradients(model))
    assert seen[0] == seen[1]


@given(config=CONFIGS, where=st.integers(0, 10**6), jumps=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_back_restores_every_gradient_and_stepping_again_gives_the_same(
    config: dict[str, Any], where: int, jumps: list[int]
) -> None:
    model = gpt(**config)
    with use_stream(Stream(seed=5)):
        model.loss(*batch(seed=1)).backward()  # gradients are there already, and added to
        if where % 2:
            model.zero_grad()
        steps = model.loss(*batch()).backward_steps(retain_graph=True)
        seen: list[tuple[str, Gradients]] = []  # at each stop
        for step in steps:
            assert len(seen) == step.index
            seen.append((repr(step), gradients(model)))
        end = gradients(model)
        at = len(seen)
        for jump in jumps:
            for _ in range(min(jump, at)):
                at -= 1
                assert (repr(steps.back()), gradients(model)) == seen[at]
            for _ in range(where % 3):
                if next(steps, None) is not None:
                    at += 1
                    assert (repr(steps.step), gradients(model)) == seen[at]
                else:
                    at = len(seen)
        assert steps.run() is None
        assert gradients(model) == end


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_back_from_the_first_step_on_leaves_unset_gradients_unset_and_set_ones_the_same_arrays(backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    with use_backend(backend):
        model = gpt(dtype="float32")
        x = Tensor(np.ones((1, 16), np.float32), requires_grad=True)
        held = x.grad = np.full((1, 16), 0.25, np.float32)
        before = gradients(model)
        assert not any(is_set for is_set, _ in before.values())
        block = model.blocks[0]
        steps = block.mlp(x).sum().backward_steps(retain_graph=True)
        for _ in steps:
            pass
        assert x.grad is held
        assert not np.array_equal(held, np.full((1, 16), 0.25))
        while steps.place > 1:
            steps.back()
        steps.back()
        assert gradients(model) == before
        assert x.grad is held
        np.testing.assert_array_equal(held, np.full((1, 16), 0.25))


def test_steps_of_a_checkpoint_gather_what_its_parts_reach_and_take_it_back() -> None:
    seen = []
    for stepped in (False, True):
        model = gpt(dropout=0.2)
        with use_stream(Stream(seed=5)):
            x: Tensor = model.token_embedding(batch()[0])
            for block in model.blocks:
                x = checkpoint(block, x)
            loss = (x * x).mean()
            if stepped:
                steps = loss.backward_steps(retain_graph=True)
                before = [gradients(model) for _ in steps]
                end = gradients(model)
                for expected in reversed(before):
                    steps.back()
                    assert gradients(model) == expected
                for _ in steps:
                    pass
                assert gradients(model) == end
            else:
                loss.backward()
        seen.append(gradients(model))
    assert seen[0] == seen[1]


class Residual:
    """y = x + branch(x), and the gradients of loss = sum(y * weights) by stepping, with an edit at the add."""

    def __init__(self, branch: Callable[[Tensor], Tensor]) -> None:
        self.x = leaf(0.5, -1.0, 2.0)
        self.y = self.x * 3
        self.z = self.y + branch(self.y)
        self.loss = (self.z * np.array([1.0, 2.0, 3.0])).sum()

    def gradient(self, edit: Callable[[Any], None] | None = None) -> Any:
        for step in self.loss.backward_steps():
            if edit is not None and step.node is self.z.node:
                edit(step)
        return self.x.grad


def scale_in_place(factor: float) -> Callable[[Any], None]:
    def edit(step: Any) -> None:
        step.dxs[1] *= factor

    return edit


def scale_by_assignment(factor: float) -> Callable[[Any], None]:
    def edit(step: Any) -> None:
        step.dxs[1] = step.dxs[1] * factor

    return edit


@pytest.mark.parametrize("scaling", [scale_in_place, scale_by_assignment])
@pytest.mark.parametrize("factor", [0.0, -2.5])
def test_scaling_one_branch_of_a_residual_is_scaling_its_gradient_alone(
    scaling: Callable[[float], Callable[[Any], None]], factor: float
) -> None:
    def scaled(y: Tensor) -> Tensor:  # the same value, factor times the gradient
        branch = ops.tanh(y)
        return branch.detach() * (1 - factor) + branch * factor

    expected = Residual(scaled).gradient()
    np.testing.assert_allclose(Residual(ops.tanh).gradient(scaling(factor)), expected, rtol=1e-14)
    if factor == 0:
        np.testing.assert_array_equal(expected, [3.0, 6.0, 9.0])


def test_an_edit_in_place_touches_neither_the_other_branch_nor_what_came_in() -> None:
    """The backward of an addition returns one array twice: dy itself."""

    def edit(step: Any) -> None:
        came_in = step.dy.copy()
        step.dxs[0][...] = 100
        np.testing.assert_array_equal(step.dy, came_in)
        np.testing.assert_array_equal(step.dxs[1], came_in)

    np.testing.assert_allclose(Residual(lambda y: y * 0.5).gradient(edit), 3 * (100 + 0.5 * np.array([1, 2, 3.0])))


def test_the_read_only_gradient_of_a_sum_can_be_edited() -> None:
    x = leaf(1.0, 2.0, 3.0)
    steps = x.sum().backward_steps()
    step = next(steps)
    step.dxs[0][1] = 7
    steps.run()
    np.testing.assert_array_equal(x.grad, [1, 7, 1])


def test_an_edit_is_taken_back_and_done_again_with_the_step() -> None:
    x = leaf(1.0, 2.0)
    steps = (x * 2).exp().sum().backward_steps(retain_graph=True)
    next(steps)
    step = next(steps)
    step.dxs[0] *= 0
    assert steps.run() is None
    np.testing.assert_array_equal(x.grad, [0, 0])
    steps.back(), steps.back()
    assert steps.step is step
    assert x.grad is None
    step.dxs[0] = np.array([1.0, 1.0])
    steps.run()
    np.testing.assert_array_equal(x.grad, [2, 2])
    while steps.place:
        steps.back()
    for _ in steps:  # the backwards run again: nothing is left of the edit
        pass
    np.testing.assert_allclose(x.grad, 2 * np.exp([2.0, 4.0]))


def test_an_edited_gradient_of_a_parameter_is_added_to_what_was_there() -> None:
    pytest.importorskip("numba")
    with use_backend("numba"):  # whose backward writes the sum straight into the parameter's gradient
        model = gpt()
        weight = model.blocks[0].mlp.fc.weight
        model.loss(*batch()).backward()
        before = weight.grad.copy()
        for step in model.loss(*batch(seed=1)).backward_steps():
            for i, flow in enumerate(step.flows):
                if flow.target is weight:
                    np.testing.assert_array_equal(flow.before, before)
                    np.testing.assert_allclose(flow.after, before + flow.gradient, rtol=1e-5, atol=1e-6)
                    step.dxs[i][...] = 0.5
        np.testing.assert_array_equal(weight.grad, before + np.float32(0.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones(3), r"a gradient of shape \(3,\) for input 1 of shape \(2,\)"),
        (2.0, r"step.dxs of multiply was edited to float as the gradient of input 1: return an array of .* \(2,\)"),
        (leaf(1.0, 2.0), "edited to Tensor as the gradient of input 1: return an array"),
    ],
)
def test_an_edit_that_does_not_fit_changes_nothing_and_can_be_mended(wrong: Any, message: str) -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    steps = (a * b).sum().backward_steps()
    next(steps)
    step = next(steps)
    right, step.dxs[1] = step.dxs[1], wrong
    for _ in range(2):
        with pytest.raises(GradientError, match=message):
            next(steps)
        assert (a.grad, b.grad) == (None, None)
        assert steps.step is step
    step.dxs[1] = right
    assert steps.run() is None
    np.testing.assert_array_equal(a.grad, [3, 4])
    np.testing.assert_array_equal(b.grad, [1, 2])


def test_an_edit_on_a_device_has_to_be_there_too(strict_cupy: type[standin.Waits]) -> None:
    with use_backend("cupy"):
        model = gpt()
        step = next(steps := model.loss(*batch()).backward_steps())
        right, step.dxs[0] = step.dxs[0], np.zeros(step.dxs[0].shape, "float32")
        with pytest.raises(GradientError, match=r"edited to an array of numpy: give one of cupy, as step.dy is"):
            next(steps)
        step.dxs[0] = right * 2
        assert steps.run() is None


def test_gradients_that_are_too_few_after_an_edit_are_told_so() -> None:
    step = next(steps := (leaf(1.0) * leaf(2.0)).backward_steps())
    step.dxs = step.dxs[:1]
    with pytest.raises(GradientError, match=r"step.dxs of multiply was edited to 1 gradients for 2 inputs"):
        next(steps)
    step.dxs = None
    with pytest.raises(GradientError, match="edited to NoneType, not a tuple"):
        next(steps)


def test_an_error_after_a_backward_ran_takes_it_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    x = leaf(1.0, 2.0)
    steps = (x * 3).sum().backward_steps()
    next(steps)

    def no_memory(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(SteppedPass, "step", no_memory)
        with pytest.raises(MemoryError):
            next(steps)
    assert [step.node.op.name for step in steps] == ["multiply"]
    np.testing.assert_array_equal(x.grad, [3, 3])


class Full(Tensor):
    """A leaf for whose gradient there is no memory at first."""

    __slots__ = ("tries",)

    def gradient_place(self) -> tuple[Any, int]:
        self.tries = getattr(self, "tries", 0) + 1
        if self.tries == 1:
            raise MemoryError
        return super().gradient_place()


def test_an_error_in_the_middle_of_accumulating_takes_all_of_the_step_back() -> None:
    a, b = leaf(1.0, 2.0), Full(np.array([3.0, 4.0]), requires_grad=True)
    steps = (a * b).sum().backward_steps()
    next(steps), next(steps)
    with pytest.raises(MemoryError):
        next(steps)
    assert (a.grad, b.grad) == (None, None)
    assert steps.run() is None
    np.testing.assert_array_equal(a.grad, [3, 4])
    np.testing.assert_array_equal(b.grad, [1, 2])


def test_a_gradient_set_to_none_flows_no_further() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    steps = y.sum().backward_steps()
    next(steps).dxs[0] = None
    assert steps.run() is None
    assert x.grad is None


@pytest.fixture
def op() -> Iterator[Callable[[Callable[..., Any]], Op]]:
    """Makes an op with the backward that it is given; the registry forgets it afterwards."""

    def make(backward: Callable[..., Any]) -> Op:
        def fragile_forward(x: Any) -> Any:
            return x * 2, ()

        return Op(fragile_forward, backward)

    yield make
    Op.registry.pop("fragile", None)


def test_an_exception_in_a_backward_leaves_the_stop_before_it_and_can_be_run_again(op: Any) -> None:
    fails = [True]

    def fragile_backward(dy: Any) -> Any:
        if fails[0]:
            raise ZeroDivisionError("of the user's own")
        return (2 * dy,)

    x = leaf(1.0, 2.0)
    steps = (op(fragile_backward)(x) * x).sum().backward_steps()
    next(steps), next(steps)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            next(steps)
        np.testing.assert_array_equal(x.grad, [2, 4])  # through the product
    assert steps.back().node.op.name == "multiply"
    assert x.grad is None
    fails[0] = False
    assert [step.node.op.name for step in steps] == ["fragile"]
    np.testing.assert_array_equal(x.grad, [4, 8])


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda dy: dy, "fragile_backward returned ndarray, not a tuple: return one gradient per input array"),
        (lambda dy: None, "fragile_backward returned NoneType, not a tuple"),
        (lambda dy: (), "fragile_backward returned 0 gradients for 1 inputs"),
        (lambda dy: (1.5,), "fragile_backward returned float as the gradient of input 0: return an array"),
    ],
)
@pytest.mark.parametrize("stepped", [False, True])
def test_a_backward_of_a_user_that_returns_the_wrong_thing_is_told_so(
    op: Any, backward: Callable[..., Any], message: str, stepped: bool
) -> None:
    x = leaf(1.0, 2.0)
    loss = (op(backward)(x) * x).sum()
    with pytest.raises(GradientError, match=message):
        list(loss.backward_steps()) if stepped else loss.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])  # what came before it


def test_a_freed_graph_is_refused_at_once_and_one_freed_meanwhile_at_the_next_step() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(GraphFreedError, match="run the forward pass again"):
        y.backward_steps()
    z = (x * x).exp()
    steps = z.backward_steps()
    next(steps)
    z.backward()
    with pytest.raises(DebugError, match=r"was freed by another backward.*retain_graph=True"):
        next(steps)


def test_a_second_backward_in_between_adds_up_and_is_not_taken_back() -> None:
    x = leaf(2.0)
    y = x * x
    steps = y.backward_steps(retain_graph=True)
    next(steps)
    y.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [4])
    assert steps.run() is None
    np.testing.assert_array_equal(x.grad, [8])
    steps.back()
    np.testing.assert_array_equal(x.grad, [4])


def test_the_end_frees_the_graph_unless_it_is_retained() -> None:
    x = leaf(2.0)
    for retain in (True, False):
        y = x * x
        steps = y.backward_steps(retain_graph=retain)
        assert steps.run() is None
        assert steps.run() is None  # it stays at the end
        assert (y.node.saved is None) is not retain
    with pytest.raises(DebugError, match=r"the pass has ended and its graph is freed.*retain_graph=True"):
        steps.back()


def test_there_is_no_step_before_the_first() -> None:
    steps = (leaf(1.0) * 2).backward_steps()
    with pytest.raises(DebugError, match="there is no step before this one"):
        steps.back()
    next(steps)
    with pytest.raises(DebugError, match="there is no step before this one"):
        steps.back()
    assert steps.step is not None


def test_a_leaf_has_no_steps_but_gets_its_gradient() -> None:
    x = leaf(1.0)
    assert list(x.backward_steps(3.0)) == []
    np.testing.assert_array_equal(x.grad, [3])


def test_a_chain_of_100_000_ops_is_stepped_through() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.5
    steps = y.backward_steps()
    assert sum(1 for _ in steps) == 100_000
    np.testing.assert_array_equal(x.grad, [1])
    del steps, y


def test_a_node_that_no_gradient_reaches_is_stepped_over() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    steps = (y.detach() * y).sum().backward_steps()
    next(steps)
    next(steps).dxs[1] = None
    assert [step.name for step in steps] == []
    assert steps.place == len(steps.tape)


def test_names_arguments_and_flows_say_where_each_gradient_goes() -> None:
    model = gpt()
    ids, targets = batch()
    for step in model.loss(ids, targets).backward_steps():
        if step.node.layer == "blocks.1.ln2":
            break
    assert step.name.startswith("blocks.1.ln2: layernorm #")
    assert list(step.arguments) == ["dy", "x", "mean", "rstd", "weight", "bias"]
    x, weight, bias = step.flows
    assert [flow.input for flow in step.flows] == ["x", "weight", "bias"]
    assert (weight.name, weight.target) == ("blocks.1.ln2.weight", model.blocks[1].ln2.weight)
    assert bias.name == "blocks.1.ln2.bias"
    assert x.name.startswith("blocks.1: add #")
    assert x.before is not None  # the residual's other way came first
    np.testing.assert_array_equal(x.after, x.before + x.gradient)
    assert weight.before is None
    assert weight.after is weight.gradient
    text = repr(step)
    for part in ("blocks.1.ln2", "dy (2, 8, 16), norm ", "dweight (16,), norm ", "-> blocks.1.ln2.bias"):
        assert part in text


def test_an_op_of_x_and_x_shows_what_each_of_its_gradients_adds() -> None:
    x = leaf(3.0)
    x.grad = np.array([100.0])
    (step,) = (x * x).backward_steps(retain_graph=True)
    first, second = next((x * x).backward_steps()).flows  # after the pass before: 106
    assert (first.before, first.after) == ([106], [109])
    assert (second.before, second.after) == ([109], [112])
    assert step.index == 0


def test_an_unwanted_gradient_goes_nowhere() -> None:
    x = leaf(3.0)
    step = next((x * Tensor(np.array([2.0]))).backward_steps())
    assert step.flows[1].name == "nowhere: no gradient is wanted"
    assert step.flows[1].gradient is None


def test_what_came_in_cannot_be_written_to() -> None:
    step = next((leaf(3.0) * 2).backward_steps())
    with pytest.raises(ValueError, match="read-only"):
        step.dy *= 2


def test_wrong_upstream_gradients_are_refused_as_by_backward() -> None:
    from autograd import AutogradError

    with pytest.raises(AutogradError, match="needs an upstream gradient"):
        leaf(1.0, 2.0).backward_steps()
    with pytest.raises(AutogradError, match="requires no gradient"):
        Tensor(np.ones(1)).backward_steps()
    for wrong in ("x", [1.0], {}):
        for backward in (leaf(1.0).backward, leaf(1.0).backward_steps):
            with pytest.raises(AutogradError, match=r"upstream gradient is a .*: give a number or an array of shape"):
                backward(wrong)
    for wrong in (1j, np.array(["x"]), np.array([None])):
        with pytest.raises(AutogradError, match="for a tensor of float64: give real numbers"):
            leaf(1.0).backward(wrong)


@contextmanager
def drawn() -> Iterator[None]:
    with use_stream(Stream(seed=1)):
        yield


def test_dropout_drops_the_same_when_its_step_is_taken_again() -> None:
    with drawn():
        x = Tensor(np.ones(64), requires_grad=True)
        steps: Steps = dropout(x * 1, p=0.5, key=(3, 1)).sum().backward_steps(retain_graph=True)
        next(steps)
        first = next(steps).dxs[0]
        steps.back()
        again = next(steps).dxs[0]
    assert first is not again
    np.testing.assert_array_equal(first, again)
