"""What a debugger shows of a Tensor and a Node, and where it says that an op was called."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autograd import Node, Tensor, checkpoint, enable_grad, ops
from minillm import GPT, GPTConfig
from minillm.layers import Linear
from minillm.module import Module, Parameter

HERE = Path(__file__).name


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def line() -> int:
    """Of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def node_of(tensor: Tensor) -> Node:
    assert tensor.node is not None
    return tensor.node


def gpt() -> GPT:
    return GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=16))


def test_a_tensor_shows_name_shape_dtype_norm_first_values_and_the_gradient_once_there_is_one() -> None:
    x = Tensor(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), requires_grad=True)
    assert repr(x) == "Tensor((2, 2) float32, requires_grad, norm 5, [3, 4, 0, ...])"
    x.name = "x"
    (x * 2).sum().backward()
    assert repr(x) == ("Tensor('x' (2, 2) float32, requires_grad, norm 5, [3, 4, 0, ...], grad norm 4, [2, 2, 2, ...])")


def test_a_result_shows_its_op_its_layer_and_the_users_line() -> None:
    x = leaf(1.0, 2.0)
    y, at = x * 2, line()
    assert repr(y) == f"Tensor((2,) float64, multiply, {HERE}:{at}, norm 4.472, [2, 4])"
    model = gpt()
    loss, at = model.loss(np.zeros((1, 3), int), np.zeros((1, 3), int)), line()
    assert re.fullmatch(
        rf"Tensor\(\(\) float32, cross_entropy in \(GPT\), {HERE}:{at}, norm [\d.]+, \[[\d.]+\]\)", repr(loss)
    )


def test_a_parameter_shows_its_path() -> None:
    assert repr(gpt().blocks[1].attn.qkv.bias) == (
        "Tensor('blocks.1.attn.qkv.bias' (48,) float32, requires_grad, norm 0, [0, 0, 0, ...])"
    )


def test_a_node_shows_op_layer_shapes_in_and_out_dtype_bytes_saved_and_the_users_line() -> None:
    model = gpt()
    x = Tensor(np.ones((2, 3, 16), np.float32), requires_grad=True)
    y, at = model.blocks[0].attn.qkv(x * 1), line()
    saved = 2 * 3 * 16 * 4  # x: weight and bias live anyway
    assert re.fullmatch(
        rf"<linear #\d+ in blocks.0.attn.qkv: \(2, 3, 16\), \(48, 16\), \(48,\) -> \(2, 3, 48\) float32, "
        rf"saved {saved} bytes, {HERE}:{at}>",
        repr(y.node),
    )
    y.sum().backward()
    assert re.fullmatch(rf"<linear #\d+ in blocks.0.attn.qkv: freed, {HERE}:{at}>", repr(y.node))


def test_an_input_without_a_gradient_is_a_dash() -> None:
    assert ": -, (1,) -> (1,) float64" in repr((leaf(1.0).detach() * leaf(2.0)).node)


ARRAYS: dict[str, Any] = {
    "0-d": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "one": np.ones((1, 1, 1)),
    "bools": np.array([True, False]),
    "integers": np.arange(10).reshape(5, 2),
    "complex": np.array([3 + 4j]),
    "half": np.full(3, 6e4, np.float16),
    "large numbers": np.full(3, 1e30, np.float32),
    "not finite": np.array([np.nan, np.inf, 1.0]),
    "strings": np.array(["a", "b"]),
    "objects": np.array([None, {}], object),
    "strided": np.arange(24.0).reshape(4, 6)[::-2, ::3],
    "number": 3.5,
    "list": [1.0, 2.0],
}
SHOWN = {
    "0-d": "norm 2.5, [2.5]",
    "empty": "norm 0, []",
    "one": "norm 1, [1]",
    "bools": "[True, False]",
    "integers": "[0, 1, 2, ...]",
    "complex": "norm 5, [3+4j]",
    "half": "norm 1.039e+05, [6e+04, 6e+04, 6e+04]",
    "large numbers": "norm 1.732e+30, [1e+30, 1e+30, 1e+30]",
    "not finite": "norm nan, [nan, inf, 1]",
    "strings": "['a', 'b']",
    "objects": "[None, {}]",
    "strided": "norm 29.7, [18, 21, 6, ...]",
    "number": "norm 3.5, [3.5]",
    "list": "norm 2.236, [1, 2]",
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_no_array_is_too_odd_to_be_shown(kind: str) -> None:
    assert SHOWN[kind].replace("'", "") in repr(Tensor(ARRAYS[kind])).replace("'", "")


def test_first_values_are_those_in_c_order_whatever_the_shape() -> None:
    for shape in [(7,), (5, 1, 1), (2, 2, 2), (4, 2), (1, 1, 6), (3, 1, 2)]:
        x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        assert f"[{', '.join(map(str, x.ravel()[:3]))}" in repr(Tensor(x))


def test_a_tensor_of_many_elements_is_shown_without_reading_them() -> None:
    """An array of 400 GB, which no machine could read: each element is the same one in memory."""
    x = Tensor(np.broadcast_to(np.float32(1), (10**6, 10**5)), requires_grad=True)
    x.grad = x.data
    assert repr(x) == ("Tensor((1000000, 100000) float32, requires_grad, [1, 1, 1, ...], grad [1, 1, 1, ...])")


def test_a_repr_leaves_unset_gradients_unset() -> None:
    model = gpt()
    for _, parameter in model.named_parameters():
        repr(parameter)
        assert parameter.gradient_set() is None


def test_a_debugger_may_look_at_a_tensor_before_it_is_made() -> None:
    assert repr(Tensor.__new__(Tensor)) == "Tensor()"
    assert repr(Parameter.__new__(Parameter)) == "Tensor()"


def test_an_array_on_a_gpu_is_shown_too(strict_cupy: Any) -> None:
    from autograd import use_backend

    with use_backend("cupy"):
        from autograd import backends

        x = Tensor(backends.active().to_device(np.arange(12.0).reshape(3, 4)))
        assert repr(x) == "Tensor((3, 4) float64, norm 22.49, [0, 1, 2, ...])"


def at(tensor: Tensor) -> tuple[str, int]:
    user = node_of(tensor).origin.user_line
    assert user is not None
    return Path(user[0]).name, user[1]


def test_the_users_line_is_the_one_that_calls() -> None:
    x = leaf(1.0, 2.0)

    def nested() -> Tensor:
        return x * 2

    expected = nested.__code__.co_firstlineno + 1
    assert at(nested()) == (HERE, expected)
    through_a_lambda, here = (lambda: ops.exp(x))(), line()
    assert at(through_a_lambda) == (HERE, here)
    many, here = [x * i for i in range(3)], line()
    assert {at(y) for y in many} == {(HERE, here)}
    lazy, here = (x * i for i in range(3)), line()
    assert {at(y) for y in lazy} == {(HERE, here)}
    before = line()
    several_lines = ops.add(
        x,
        x * 2,
    )
    assert at(several_lines) == (HERE, before + 1)


def test_wrappers_of_the_standard_library_are_not_the_user() -> None:
    x = leaf(1.0, 2.0)
    decorated = enable_grad()(ops.tanh)  # contextlib calls it
    y, here = decorated(x), line()
    assert at(y) == (HERE, here)
    y, here = functools.reduce(ops.add, [x, x, x]), line()
    assert at(y) == (HERE, here)


def test_a_file_beside_a_library_whose_name_begins_like_it_is_the_users() -> None:
    import minillm

    assert minillm.__file__ is not None
    file = f"{Path(minillm.__file__).parent}_experiment.py"
    scope: dict[str, Any] = {"x": leaf(1.0)}
    exec(compile("\n\ny = x * 2", file, "exec"), scope)
    assert at(scope["y"]) == ("minillm_experiment.py", 3)


def test_a_layer_of_the_library_is_passed_over_on_the_way_to_the_user_and_kept_as_the_caller() -> None:
    layer = Linear(4, 4, rng=np.random.default_rng(0), dtype="float64")
    y, here = layer(Tensor(np.ones((1, 4)))), line()
    origin = node_of(y).origin
    assert at(y) == (HERE, here)
    assert origin.layer is layer
    assert origin.caller_line is not None
    assert Path(origin.caller_line[0]).name == "linear.py"


class Twice(Module):
    """A user's own layer, with a user's own layer in it."""

    def __init__(self) -> None:
        self.inner = Square()

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2


class Square(Module):
    def __call__(self, x: Tensor) -> Tensor:
        def product() -> Tensor:
            return x * x

        return sum((product() for _ in range(1)), start=Tensor(np.zeros(1)))


def test_the_layer_is_the_innermost_that_calls_and_goes_by_its_path_once_it_has_one() -> None:
    model, x = Twice(), leaf(3.0)
    y = model(x)
    product = node_of(y).parents[0]
    assert isinstance(product, Node)
    assert (node_of(y).layer, product.layer) == ("(Twice)", "(Square)")
    model.name_parts()
    assert (node_of(y).layer, product.layer) == ("(Twice)", "inner")


class AnswersToAll:
    """Such as a mock, or a proxy of something that is not there."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)

    def call(self, function: Callable[[], Tensor]) -> Tensor:
        return function()


def test_an_object_that_answers_to_any_name_is_no_layer() -> None:
    y = AnswersToAll().call(lambda: leaf(1.0) * 2)
    assert node_of(y).layer is None


def test_ops_called_outside_of_layers_have_none_and_other_threads_have_their_own_lines() -> None:
    results: list[tuple[Tensor, int]] = []

    def work() -> None:
        results.append((leaf(1.0) * 2, line()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    ((y, here),) = results
    assert (at(y), node_of(y).layer) == ((HERE, here), None)


def test_a_checkpoint_stands_where_it_was_called() -> None:
    y, here = checkpoint(lambda x: x * 2, leaf(1.0)), line()
    assert at(y) == (HERE, here)
    assert repr(y.node).startswith("<checkpoint #")
