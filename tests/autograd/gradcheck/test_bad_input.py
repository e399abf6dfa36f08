"""What cannot be checked is named in one sentence, and never by a traceback from inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from autograd import Op, Tensor, no_grad
from autograd.backends import Array
from autograd.gradcheck import GradcheckError, gradcheck
from minillm.module import Module, Parameter

X = np.array([0.5, -1.5, 2.0])
W = np.array([1.0, 2.0, 3.0])
NOISE = np.random.default_rng(0)  # a generator of the user's own, which no check can freeze


def square_forward(x: Array) -> tuple[Array, tuple[Array]]:
    return x * x, (x,)


def square_backward(dy: Array, x: Array) -> tuple[Array]:
    return (2 * x * dy,)


def product_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return x * w, (x, w)


def product_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array]:
    return dy * w, dy * x


def rows_forward(x: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    return x[ids], (x, ids)


def sentence(target: Any, *args: Any, **options: Any) -> str:
    """What gradcheck says; one line, as opposed to a report with numbers."""
    with pytest.raises(GradcheckError) as caught:
        gradcheck(target, *args, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.report is None
    return message


@pytest.fixture
def op() -> Iterator[Callable[..., Op]]:
    """Makes an Op that does not stay in the registry, where every op must have a case."""
    before = dict(Op.registry)
    yield Op
    Op.registry.clear()
    Op.registry.update(before)


# functions that are not deterministic


def noisy_forward(x: Array) -> tuple[Array, tuple[Array]]:
    return x * NOISE.random(x.shape), (x,)


def noisy_backward(dy: Array, x: Array) -> tuple[Array]:
    return (dy * NOISE.random(x.shape),)


def noisy_saved_forward(x: Array) -> tuple[Array, tuple[Array]]:
    return x * x, (x * NOISE.random(x.shape),)


def noisy_shape_forward(x: Array) -> tuple[Array, tuple[Array]]:
    return np.ones(int(NOISE.integers(1, 1 << 30)) % 1000), (x,)


@pytest.mark.parametrize(
    ("pair", "culprit"),
    [
        ((noisy_forward, square_backward), "noisy"),
        ((square_forward, noisy_backward), "the backward of square"),
        ((noisy_saved_forward, square_backward), "the backward of noisy_saved"),
        ((noisy_shape_forward, square_backward), "noisy_shape"),
    ],
)
def test_randomness_that_cannot_be_frozen(pair: Any, culprit: str) -> None:
    assert sentence(pair, [X]).startswith(f"{culprit} is not deterministic: the same inputs gave ")


def test_a_function_of_tensors_that_is_not_deterministic() -> None:
    def noisy(x: Tensor) -> Tensor:
        return x * NOISE.random(x.shape)

    assert sentence(noisy, [X]).startswith("noisy is not deterministic: the same inputs gave other outputs")


# functions that change what is not theirs


def doubling_forward(x: Array) -> tuple[Array, tuple[Array]]:
    x *= 2
    return x * x, (x,)


def doubling_backward(dy: Array, x: Array) -> tuple[Array]:
    x *= 2
    return (x * dy,)


def dy_writing_backward(dy: Array, x: Array) -> tuple[Array]:
    dy *= 2 * x
    return (dy,)


def counting_forward(x: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    ids += 1
    return x[ids], (x, ids)


def rows_backward(dy: Array, x: Array, ids: Array) -> tuple[Array, None]:
    dx = np.zeros_like(x)
    np.add.at(dx, ids, dy)
    return dx, None


@pytest.mark.parametrize(
    ("pair", "inputs", "message"),
    [
        ((doubling_forward, square_backward), [X], "the forward of doubling writes into x, which is its caller's"),
        ((square_forward, doubling_backward), [X], "the backward of square writes into x, which is its caller's"),
        ((square_forward, dy_writing_backward), [X], "the backward of square writes into dy, which is its caller's"),
        (
            (counting_forward, rows_backward),
            [X, np.array([0, 1])],
            "the forward of counting writes into ids, which is its caller's",
        ),
    ],
)
def test_writes_into_inputs_and_dy(pair: Any, inputs: list[Array], message: str) -> None:
    before = [x.copy() for x in inputs]
    assert sentence(pair, inputs) == f"{message}: write to a copy or to a new array"
    for x, was in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, was)  # the caller's own arrays are left alone


def test_writes_into_a_saved_array() -> None:
    def copying_forward(x: Array) -> tuple[Array, tuple[Array]]:
        return x * x, (x.copy(),)

    line = doubling_backward.__code__.co_firstlineno + 1
    message = sentence((copying_forward, doubling_backward), [X])
    assert message.startswith("doubling_backward writes into an array that is not its own, an input, dy or a saved")
    assert f"in line {line} of {__file__}: " in message


def test_writes_into_dy_on_the_tape(op: Callable[..., Op]) -> None:
    square = op(square_forward, dy_writing_backward)
    message = sentence(lambda x: square(x) * 2, [X])
    assert message.startswith("dy_writing_backward writes into an array that is not its own")


def test_writes_into_a_parameter() -> None:
    p = Tensor(W.copy(), requires_grad=True)

    def growing(x: Tensor) -> Tensor:
        p.data *= 2
        return x * p

    message = sentence(growing, [X], parameters={"p": p})
    assert message.startswith("the forward of growing writes into p, which is its caller's")
    np.testing.assert_array_equal(p.data, W)


# gradients that do not fit


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda dy, x, w: (dy * w,), "returned 1 gradients for 2 inputs (x, w): return one per input array, in the "),
        (lambda dy, x, w: (dy, dy, dy), "returned 3 gradients for 2 inputs (x, w): return one per input array, in "),
        (lambda dy, x, w: None, "returned None: return a tuple with one gradient per input array"),
        (lambda dy, x, w: dy * w, "returned an array of float64 (3,): return a tuple with one gradient per input"),
        (lambda dy, x, w: (dy * w, None), "returned None, no gradient at all, for w of float64 (3,)"),
        (lambda dy, x, w: (dy * w, [1.0, 2.0, 3.0]), "returned a list of 3 as the gradient of w: return an array"),
        (lambda dy, x, w: (dy * w, 1.0), "returned a float as the gradient of w: return an array"),
        (lambda dy, x, w: (dy * w, (dy * x).astype("float32")), "returned a gradient of float32 for w of float64: "),
        (lambda dy, x, w: (dy * w, (dy * x).astype(int)), "returned a gradient of int64 for w of float64: a gradient"),
    ],
)
def test_gradients_that_do_not_fit(backward: Callable[..., Any], message: str, op: Callable[..., Op]) -> None:
    backward.__name__ = "bad_backward"
    assert sentence((product_forward, backward), [X, W]).startswith(f"bad_backward {message}")

    product = op(product_forward, backward)  # on the tape, inputs have no names
    on_tape = re.sub(
        r"\bfor w\b|\bof w\b", lambda m: m[0][:-1] + "input 1", message.replace("(x, w)", "(input 0, input 1)")
    )
    assert sentence(lambda x, w: product(x, w), [X, W]).startswith(f"product_backward {on_tape}")


@pytest.mark.parametrize("dw", [lambda dw: dw.sum(), lambda dw: dw[:, None], lambda dw: dw[:2]])
def test_a_gradient_of_the_wrong_shape_is_a_finding(dw: Callable[[Array], Array]) -> None:
    def bad_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array]:
        return dy * w, dw(dy * x)

    shape = dw(X).shape
    with pytest.raises(GradcheckError, match=r"a gradient has its input's shape\n  diagnosis: ") as caught:
        gradcheck((product_forward, bad_backward), [X, W])
    assert f"bad_backward returned a gradient of shape {shape} for w of shape (3,)" in str(caught.value)


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_gradient_that_is_not_finite_is_a_finding(bad: str) -> None:
    def bad_backward(dy: Array, x: Array) -> tuple[Array]:
        return (np.where(x > 1, float(bad), 2 * x * dy),)

    with pytest.raises(GradcheckError, match=rf"diagnosis: is not finite: backward returned {bad} at \[2\]"):
        gradcheck((square_forward, bad_backward), [X])


def test_promotion_in_float32_is_named() -> None:
    def promoting_backward(dy: Array, x: Array) -> tuple[Array]:
        return (dy * x * np.float64(2),)

    gradcheck((square_forward, promoting_backward), [X])
    assert sentence((square_forward, promoting_backward), [X], dtype="float32") == (
        "promoting_backward returned a gradient of float64 for x of float32: a gradient has its input's dtype"
    )


# outputs that cannot be checked


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x * x, "bad_forward returned an array of float64 (3,): return y and a tuple of what the backward"),
        (lambda x: (x * x, x), "bad_forward returned a tuple of 2: return y and a tuple of what the backward needs"),
        (lambda x: None, "bad_forward returned None: return y and a tuple of what the backward needs"),
        (lambda x: (x.tolist(), (x,)), "bad_forward returned a list of 3 as y: return an array"),
        (lambda x: (None, (x,)), "bad_forward returned None as y: return an array"),
        (lambda x: (Tensor(x) * 2, (x,)), "bad_forward returned a Tensor of float64 (3,) as y: return an array"),
        (lambda x: ((2 * x).astype(int), (x,)), "bad returned int64: return floating-point numbers"),
        (lambda x: (np.log(x), (x,)), "bad returned numbers that are not finite: check it at other inputs"),
        (lambda x: (np.exp(1e4 * x), (x,)), "bad returned numbers that are not finite: check it at other inputs"),
    ],
)
def test_outputs_of_a_forward(forward: Callable[..., Any], message: str) -> None:
    forward.__name__ = "bad_forward"
    assert sentence((forward, square_backward), [X]).startswith(message)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.data * 2, "returned an array of float64 (3,): return a Tensor; plain functions of arrays are"),
        (lambda x: None, "returned None: return a Tensor; plain functions of arrays are checked as a pair"),
        (lambda x: Tensor((x.data * 2).astype(int)), "returned int64: return floating-point numbers"),
        (lambda x: x.detach() * 2, "returned a Tensor without history, so no gradient at all: compute it from its"),
        (no_grad()(lambda x: x * 2), "returned a Tensor without history, so no gradient at all: compute it from its"),
    ],
)
def test_outputs_of_a_function_of_tensors(function: Callable[..., Any], message: str) -> None:
    function.__name__ = "bad"
    assert sentence(function, [X]).startswith(f"bad {message}")


@pytest.mark.parametrize("returned", [lambda x, w: x * w, lambda x, w: (x * w, x), lambda x, w: np.stack([x, w])])
def test_an_op_whose_forward_saves_nothing(returned: Callable[..., Any], op: Callable[..., Op]) -> None:
    def bad_forward(x: Array, w: Array) -> Any:
        return returned(x, w)

    bad = op(bad_forward, product_backward)
    assert sentence(lambda x, w: bad(x, w), [X, W]) == (
        "bad_forward did not return y and a tuple of what the backward needs: `return y, (x, weight)`"
    )


# signatures and exceptions


def test_signatures_that_do_not_fit(op: Callable[..., Op]) -> None:
    array = "an array of float64 (3,)"
    saved = (
        f"gradcheck called product_backward with {array}, {array}, which it does not take: product_backward() missing"
    )
    assert sentence((square_forward, product_backward), [X]).startswith(saved)
    square = op(square_forward, product_backward)
    assert "called square_backward with" in sentence(lambda x: square(x), [X])
    assert sentence((square_forward, square_backward), [X, W]).startswith(
        f"gradcheck called square_forward with {array}, {array}, which it does not take: square_forward() takes 1 "
    )
    assert "square_forward() got an unexpected keyword argument 'eps'; a forward takes the inputs and attributes" in (
        sentence((square_forward, square_backward), [X], {"eps": 1})
    )
    assert "with a Tensor of float64 (3,), a Tensor of float64 (3,), which it does not take" in (
        sentence(lambda x: x * 2, [X, W])
    )


def notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", ()))


def test_an_exception_of_the_function_comes_through_with_the_step() -> None:
    def broken_forward(x: Array) -> tuple[Array, tuple[Array]]:
        raise KeyError("own")

    def broken_backward(dy: Array, x: Array) -> tuple[Array]:
        return (dy + None,)  # type: ignore[operator]

    with pytest.raises(KeyError, match="own") as caught:
        gradcheck((broken_forward, square_backward), [X])
    assert notes(caught.value) == "gradcheck was running the forward of broken at the inputs (x float64 (3,))"
    with pytest.raises(TypeError, match="unsupported operand") as of_backward:
        gradcheck((square_forward, broken_backward), [X])
    assert notes(of_backward.value) == "gradcheck was running the backward of square at the inputs (x float64 (3,))"


def test_an_exception_at_a_step_away_says_so() -> None:
    def brittle(x: Tensor) -> Tensor:
        if x.data[0] != X[0]:
            raise ValueError("elsewhere")
        return x * x

    with pytest.raises(ValueError, match="elsewhere") as caught:
        gradcheck(brittle, [X])
    assert "of brittle at inputs moved by a small step (x float64 (3,))" in notes(caught.value)


def test_refusing_complex_numbers_is_no_error_unless_they_are_asked_for() -> None:
    def real_forward(x: Array) -> tuple[Array, tuple[Array]]:
        if x.dtype.kind == "c":
            raise ValueError("real numbers only")
        return square_forward(x)

    report = gradcheck((real_forward, square_backward), [X])
    assert report.without["complex step"] == "the function does not take complex numbers"
    assert sentence((real_forward, square_backward), [X], analytic=True).startswith(
        "real does not take complex numbers"
    )


# what gradcheck is given


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ([np.arange(3)], "x is an array of int64 (3,)"),
        ([X + 0j], "x is an array of complex128 (3,)"),
        ([[1.0, 2.0]], "x is a list of 2"),
        ([1.5], "x is a float"),
        ([], "no input at all"),
    ],
)
def test_no_floating_point_input(inputs: list[Any], what: str) -> None:
    message = sentence((square_forward, square_backward), inputs)
    assert message.startswith(f"square was given no floating-point array that gets a gradient ({what}), so there is")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "gradients cannot be checked in 'bfloat16': choose one of 'float64', 'float32'"),
        ({"constants": ["y"]}, "'y' in constants is no input: the inputs are x"),
        ({"constants": "x"}, "constants is the string 'x': give a list of names, ['x']"),
        ({"directions": 0}, "directions is 0: give a number of at least 1, or None"),
        ({"laws": ["linear"]}, "laws has 'linear', which is no law: choose from autograd.gradcheck.laws"),
        (
            {"composed": lambda x: (x * x).sum()},
            "the composition of square returned shape (), square itself (3,): it must compute the same",
        ),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    assert sentence((square_forward, square_backward), [X], **options) == message


def test_a_wrong_composition_is_not_blamed_on_the_gradient() -> None:
    with pytest.raises(GradcheckError, match="diagnosis: the gradient is right, the composition computes something"):
        gradcheck((square_forward, square_backward), [X], composed=lambda x: x * 3)


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (3, "an int"),
        (None, "None"),
        ((square_forward, None), "(a function, None)"),
        ((square_forward, square_backward, square_backward), "(a function, a function, a function)"),
    ],
)
def test_targets(target: Any, what: str) -> None:
    assert sentence(target, [X]) == (
        f"gradcheck was given {what}: give an Op, a pair (forward, backward), a module or a function of Tensors"
    )


def test_an_array_in_place_of_the_list_of_inputs() -> None:
    message = "inputs is an array of float64 (3,), not a list of inputs: put it in one, [x]"
    assert sentence((square_forward, square_backward), X) == message


# parameters without a gradient


class Scale(Module):
    """x * weight, with a second parameter that is used in the way of `use`."""

    def __init__(self, use: Callable[[Tensor, Parameter], Tensor]) -> None:
        self.weight, self.other, self.use = Parameter(W.copy(), "vector"), Parameter(W.copy(), "vector"), use

    def __call__(self, x: Tensor) -> Tensor:
        return self.use(x * self.weight, self.other)


def test_a_parameter_that_is_never_used() -> None:
    message = (
        "Scale never uses other of float64 (3,): use it, remove it, or name it in constants=['other'] if it is to "
    )
    assert sentence(Scale(lambda y, other: y), [X]).startswith(message)
    assert [row.name for row in gradcheck(Scale(lambda y, other: y), [X], constants=["other"]).rows] == ["x", "weight"]


@pytest.mark.parametrize("use", [lambda y, other: y * other.detach(), lambda y, other: y + other.data])
def test_a_parameter_that_is_used_without_a_gradient(use: Callable[[Tensor, Parameter], Tensor]) -> None:
    assert sentence(Scale(use), [X]).startswith(
        "Scale uses other of float64 (3,), but backward() never reaches it, so "
    )


def test_an_input_that_is_detached() -> None:
    def half(x: Tensor, w: Tensor) -> Tensor:
        return x.detach() * w

    assert sentence(half, [X, W]).startswith("half uses x of float64 (3,), but backward() never reaches it, so it has ")


def test_a_gradient_of_zero_is_no_missing_gradient() -> None:
    gradcheck(Scale(lambda y, other: y + 0 * other), [X])


def test_a_module_keeps_its_values_and_gradients_when_it_cannot_be_checked() -> None:
    module = Scale(lambda y, other: y)
    module.weight.grad = np.full(3, 7.0)
    sentence(module, [X])
    np.testing.assert_array_equal(module.weight.data, W)
    np.testing.assert_array_equal(module.weight.grad, np.full(3, 7.0))
