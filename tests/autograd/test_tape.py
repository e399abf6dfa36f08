"""The tape: accumulation, freeing, protection of saved arrays, long chains, modes, messages."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autograd import (
    AutogradError,
    GradientError,
    GraphFreedError,
    Op,
    Stream,
    Tensor,
    checkpoint,
    enable_grad,
    modes,
    no_grad,
    observe,
    ops,
    saved,
    use_stream,
)
from minillm.layers.dropout import dropout


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_gradients_accumulate_over_uses_and_backwards() -> None:
    x = leaf(2.0)
    (x * x + 3 * x).backward()
    np.testing.assert_array_equal(x.grad, [7])
    (x * x).backward()
    np.testing.assert_array_equal(x.grad, [11])


def test_diamonds_count_every_path_once() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(40):  # 2**40 paths
        y = y + y
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0**40])


def test_two_leaves_that_get_the_same_gradient_do_not_share_it() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).backward(np.ones(2))
    assert a.grad is not None
    a.grad += 1
    np.testing.assert_array_equal(b.grad, [1, 1])


def test_a_second_backward_names_what_to_do() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(GraphFreedError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, [4])


def test_a_graph_that_is_freed_in_part_changes_no_gradient() -> None:
    x, w = leaf(2.0), leaf(5.0)
    y = x * x
    z = y * w
    y.backward()
    with pytest.raises(GraphFreedError):
        z.backward()
    assert w.grad is None


def test_retain_graph_allows_another_backward() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [8])


def writes() -> dict[str, Callable[[Any, Any, Any], Any]]:
    return {
        "input": lambda base, x, y: x.data,
        "output": lambda base, x, y: y.data,
        "alias of the output": lambda base, x, y: y.data[1:],
    }


@pytest.mark.parametrize("which", writes())
@pytest.mark.parametrize("release", ["backward", "drop"])
def test_writing_to_a_saved_array_raises_until_the_graph_lets_go(which: str, release: str) -> None:
    base = np.array([1.0, 2.0, 3.0, 4.0])
    x = Tensor(base[:3], requires_grad=True)  # a view, as a parameter is of its buffer
    y = (x * x).exp()  # saves x, and its own output
    array = writes()[which](base, x, y)
    with pytest.raises(ValueError, match="read-only"):
        array += 1
    values = y.data
    if release == "backward":
        y.backward(np.ones(3))
    else:
        del y
        gc.collect()
    x.data += 1
    values += 1
    np.testing.assert_array_equal(base, [2, 3, 4, 4])


@pytest.mark.parametrize("view_first", [True, False])
def test_a_saved_view_and_its_saved_owner_open_again_in_either_order(view_first: bool) -> None:
    x = leaf(1.0, 2.0)
    view = x.reshape(2, 1)
    nodes = [view * view, x * x] if view_first else [x * x, view * view]
    for y in nodes:
        y.backward(np.ones(y.shape))
    x.data += 1
    view.data += 1
    np.testing.assert_array_equal(x.data, [3, 4])


def test_an_array_the_caller_made_read_only_stays_so() -> None:
    x = leaf(1.0)
    x.data.flags.writeable = False
    (x * x).backward()
    assert not x.data.flags.writeable


def test_a_chain_of_100_000_ops_runs_forward_and_backward_and_is_freed() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.5
    y.backward()
    np.testing.assert_array_equal(x.grad, [1])


def test_a_chain_of_100_000_ops_is_dropped_without_recursion() -> None:
    y = leaf(1.0)
    for _ in range(100_000):
        y = -y
    del y


def test_no_grad_and_enable_grad_as_block_and_decorator() -> None:
    x = leaf(1.0)
    with no_grad():
        assert not (x * 2).requires_grad
        with enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    assert not no_grad()(lambda: x * 2)().requires_grad
    with no_grad():
        assert enable_grad()(lambda: x * 2)().requires_grad


def test_modes_differ_between_threads() -> None:
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(modes.recording.get()))
        thread.start()
        thread.join()
        assert modes.recording.get() is False
    assert seen == [True]


def test_observe_sees_every_op_in_order() -> None:
    seen = []
    with observe(lambda op, inputs, attributes, y: seen.append((op.name, len(inputs), attributes, y.shape))):
        (leaf(1.0, 2.0) * 2).exp().sum()
    assert seen == [
        ("multiply", 2, {}, (2,)),
        ("exp", 1, {}, (2,)),
        ("reduce_sum", 1, {"axis": None, "keepdims": False}, ()),
    ]


@pytest.fixture
def broken_op() -> Any:
    """Makes an op with the backward that it is given; the registry forgets it afterwards."""

    def make(backward: Callable[..., Any]) -> Op:
        def broken_forward(x: Any) -> Any:
            return x * 1, ()

        return Op(broken_forward, backward)

    yield make
    Op.registry.pop("broken", None)


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda dy: (), "broken_backward returned 0 gradients for 1 inputs"),
        (lambda dy: (dy, dy), "broken_backward returned 2 gradients for 1 inputs"),
        (lambda dy: (dy[:1],), r"broken_backward returned a gradient of shape \(1,\) for input 0 of shape \(2,\)"),
    ],
)
def test_a_backward_that_does_not_fit_is_named(broken_op: Any, backward: Callable[..., Any], message: str) -> None:
    y = broken_op(backward)(leaf(1.0, 2.0))
    with pytest.raises(GradientError, match=message):
        y.backward(np.ones(2))


def test_wrong_calls_of_backward_say_what_to_do() -> None:
    with pytest.raises(AutogradError, match="requires no gradient"):
        Tensor(np.ones(2)).backward()
    with pytest.raises(AutogradError, match="needs an upstream gradient"):
        leaf(1.0, 2.0).backward()
    with pytest.raises(AutogradError, match=r"upstream gradient of shape \(3,\) for a tensor of shape \(2,\)"):
        leaf(1.0, 2.0).backward(np.ones(3))
    with pytest.raises(TypeError, match="floating-point"):
        Tensor(np.arange(3), requires_grad=True)


def test_python_numbers_and_loss_scale_leave_float32_alone() -> None:
    x = Tensor(np.array([0.5, 2], np.float32), requires_grad=True)
    y = ((2 * x + 1) / 3 - x**2 * 0.1).sum()
    assert y.dtype == np.float32
    y.backward(1024.0)
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad, 1024 * (2 / 3 - 0.2 * x.data), rtol=1e-6)


def test_cast_brings_the_gradient_back_to_the_inputs_dtype() -> None:
    x = leaf(1.0, 2.0)
    y = x.astype(np.float32) * 2
    assert y.dtype == np.float32
    y.backward(np.ones(2))
    assert x.grad is not None
    assert x.grad.dtype == np.float64


def test_ties_of_a_maximum_share_the_gradient() -> None:
    x = leaf(3.0, 1.0, 3.0)
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0.5, 0, 0.5])


def test_a_numpy_array_on_the_left_does_not_lose_the_gradient() -> None:
    x = leaf(1.0, 2.0)
    for y in (np.array([3.0, 4.0]) * x, np.array([3.0, 4.0]) @ x):
        assert isinstance(y, Tensor)
        assert y.requires_grad


def test_checkpoint_equals_no_checkpoint_bit_for_bit() -> None:
    w = leaf(0.3, -1.2, 0.7)

    def stretch(x: Tensor) -> Tensor:
        y = ops.tanh(x * w)
        return dropout(y, p=0.5, key=current().next_key()) * y

    def current() -> Stream:
        stream = modes.random_stream.get()
        assert stream is not None
        return stream

    results = []
    for run in (lambda x: stretch(stretch(x)), lambda x: checkpoint(stretch, checkpoint(stretch, x))):
        x = Tensor(np.linspace(-1, 1, 12).reshape(4, 3), requires_grad=True)
        w.grad = None
        with use_stream(Stream(seed=11)):
            y = run(x)
            after = current().calls
            y.sum().backward()
            assert current().calls == after == 2  # the second run draws nothing new
        results.append((y.data, x.grad, w.grad))
    for plain, checkpointed in zip(*results, strict=True):
        np.testing.assert_array_equal(checkpointed, plain)
    assert (results[0][0] == 0).any()  # dropout did drop


def test_a_view_saved_again_while_it_waits_for_its_owner_stays_closed_until_it_is_released():
    owner = np.ones(4)
    view = owner[:2]
    view_held, owner_held = saved.protect([view]), saved.protect([owner])
    saved.release(view_held)  # the view waits, since its owner is still held
    held_again = saved.protect([view])
    saved.release(owner_held)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    saved.release(held_again)
    view[0] = 5
    assert owner[0] == 5
