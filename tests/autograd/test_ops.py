"""Every op through every case of the one table, on every backend that is here; each twin beside its reference."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case
from compositions import composition_of
from rounding import assert_same

from autograd import BackendError, Op, Tensor, backends, use_backend
from autograd.gradcheck import gradcheck
from autograd.gradcheck.arrays import is_float, read_only, to_device, upstream
from autograd.gradcheck.strategies import LAYOUTS, lay_out

REGISTERED = dict(Op.registry)  # as it stands at import: ops that tests make are no business of this table
DTYPES = ["float64", "float32"]


def here(backend: str) -> bool:
    try:
        backends.load(backend)
    except BackendError:
        return False
    return True


on_every_backend = pytest.mark.parametrize("backend", [name for name in backends.BACKENDS if here(name)])
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def on_device(x: Any) -> Any:
    return tuple(map(on_device, x)) if isinstance(x, tuple) else to_device(x)


def test_every_op_has_a_case() -> None:
    ours = {
        name for name, op in REGISTERED.items() if op.forward.reference.__module__.startswith(("autograd.", "minillm."))
    }
    assert ours - {case.op for case in CASES} == set(), "add a line to tests/cases.py"


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_every_backend_is_here(backend: str) -> None:
    try:
        backends.load(backend)
    except BackendError as error:
        pytest.skip(f"gradients are not checked on {backend}: {error}")


@on_every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@every_case
def test_gradients_are_right(case: Case, dtype: str, backend: str) -> None:
    """By three oracles, of which none may be missing."""
    with use_backend(backend):
        report = gradcheck(
            Op.registry[case.op],
            case.make(dtype),
            {name: on_device(value) for name, value in case.attributes.items()},
            constants=case.constants,
            composed=composition_of(case.op),
            analytic=case.analytic,
            dtype=dtype,
        )
    assert report.without.keys() == (set() if case.analytic else {"complex step"})
    assert report.kinks == 0
    inputs = case.make()
    assert [row.checked for row in report.rows] == [inputs[i].size for i in case.wrt(inputs)]


@pytest.mark.parametrize("dtype", DTYPES)
@every_case
def test_results_have_the_dtype_of_the_inputs_and_integers_no_gradient(case: Case, dtype: str) -> None:
    inputs = case.make(dtype)
    y, saved = case.run(inputs)
    dxs = case.backward(upstream(y, np.random.default_rng(1)), saved)
    assert y.dtype == (case.attributes["dtype"] if case.op == "cast" else dtype)
    wanted = case.wrt(inputs)
    for i, x in enumerate(inputs):
        if i not in wanted and not isinstance(x, float):
            assert dxs[i] is None
    assert all(dx is None for dx in dxs[len(inputs) :])  # optional inputs that were left out


@pytest.mark.parametrize("layout", LAYOUTS)
@every_case
def test_memory_layout_changes_nothing(case: Case, layout: str) -> None:
    """`reshape` copies where it would give a view, and some results are views of inputs: none of it may matter."""

    def run(*arrays: Any) -> Any:
        return case.run(list(arrays))

    def run_laid_out(*arrays: Any) -> Any:
        return case.run([lay_out(x, layout) if is_float(x) else x for x in arrays])

    inputs = [np.array(lay_out(x, layout), order="C") if is_float(x) else x for x in case.make()]
    y, saved = assert_same(run_laid_out, run, inputs)
    dy = np.array(lay_out(upstream(y, np.random.default_rng(1)), layout), order="C")
    assert_same(lambda dy: case.backward(lay_out(dy, layout), saved), lambda dy: case.backward(dy, saved), [dy])


@every_case
def test_through_the_tape_the_gradients_are_the_same(case: Case) -> None:
    inputs = case.make()
    y, saved = case.run(inputs)
    dy = upstream(y, np.random.default_rng(1))
    dxs = case.backward(dy, saved)
    wanted = case.wrt(inputs)
    tensors = [Tensor(x, requires_grad=True) if i in wanted else x for i, x in enumerate(case.make())]
    output = Op.registry[case.op](*tensors, **case.attributes)
    np.testing.assert_array_equal(output.data, y)
    output.backward(dy)
    for i in wanted:
        np.testing.assert_array_equal(tensors[i].grad, dxs[i])


# --- twins ------------------------------------------------------------------------------------------------------------


def check_twins(case: Case, backend: str, dtype: str) -> None:
    """Twins of the forward and of the backward, each alone: the same inputs, the same saved arrays."""
    op = Op.registry[case.op]
    with use_backend(backend if backend in backends.BACKENDS else "numpy"):
        attributes = {name: on_device(value) for name, value in case.attributes.items()}
        forward = functools.partial(op.forward.reference, **attributes)
        inputs = case.make(dtype)
        assert_same(functools.partial(op.forward.on(backend), **attributes), forward, inputs)
        y, saved = forward(*map(to_device, inputs))
        dy = upstream(y, np.random.default_rng(1))
        assert_same(op.backward.on(backend), op.backward.reference, [dy, *map(read_only, saved)])


TWINS = [
    pytest.param(case, backend, id=f"{case} on {backend}")
    for case in CASES
    for op in [REGISTERED[case.op]]
    for backend in sorted({*op.forward.twins, *op.backward.twins})
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "backend"), TWINS)
def test_a_twin_computes_what_its_reference_does(case: Case, backend: str, dtype: str) -> None:
    check_twins(case, backend, dtype)


LINEAR = next(case for case in CASES if str(case) == "linear: batch and time")


def linear_forward_toy(x: Any, weight: Any, bias: Any = None) -> Any:
    """Another order of summation than the reference's."""
    return np.einsum("...i,oi->...o", x[..., ::-1], weight[:, ::-1]) + bias, (x, weight, bias)


def linear_backward_toy(dy: Any, x: Any, weight: Any, bias: Any) -> Any:
    axes = tuple(range(dy.ndim - 1))
    return np.einsum("...o,oi->...i", dy, weight), np.tensordot(dy, x, (axes, axes)), dy.sum(axes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_twin_passes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = Op.registry["linear"]
    monkeypatch.setitem(op.forward.twins, "toy", linear_forward_toy)
    monkeypatch.setitem(op.backward.twins, "toy", linear_backward_toy)
    check_twins(LINEAR, "toy", dtype)


def off_by(relative: float, dtype: str) -> Any:
    """One element of y, by this much."""

    def twin(x: Any, weight: Any, bias: Any = None) -> Any:
        y, saved = linear_forward_toy(x, weight, bias)
        y[1, 0, 2] *= 1 + relative
        return y.astype(dtype), saved

    return twin


WRONG_FORWARD = {
    "off by 1e-4": ("result 0 is wrong at", off_by(1e-4, "float32")),
    "dtype": ("result 0 has another dtype", off_by(0, "float64")),
    "saves less": ("1 results, the reference returns 4", lambda x, w, b: (linear_forward_toy(x, w, b)[0], ())),
    "saves other": ("result 1 is wrong", lambda x, w, b: (linear_forward_toy(x, w, b)[0], (2 * x, w, b))),
    "writes to its input": ("read-only", lambda x, w, b: (x.fill(0), ())),
}
WRONG_BACKWARD = {
    "one sign": ("result 2 is wrong", lambda dy, x, w, b: (*linear_backward_toy(dy, x, w, b)[:2], -dy.sum((0, 1)))),
    "shape": ("result 0 has shape", lambda dy, x, w, b: (dy, *linear_backward_toy(dy, x, w, b)[1:])),
    "writes to a saved array": ("read-only", lambda dy, x, w, b: (x.fill(0),)),
}


@pytest.mark.parametrize(("message", "twin"), WRONG_FORWARD.values(), ids=WRONG_FORWARD.keys())
def test_a_wrong_forward_twin_is_found(message: str, twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Op.registry["linear"].forward.twins, "toy", twin)
    with pytest.raises((AssertionError, ValueError), match=message):
        check_twins(LINEAR, "toy", "float32")


@pytest.mark.parametrize(("message", "twin"), WRONG_BACKWARD.values(), ids=WRONG_BACKWARD.keys())
def test_a_wrong_backward_twin_is_found(message: str, twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Op.registry["linear"].backward.twins, "toy", twin)
    with pytest.raises((AssertionError, ValueError), match=message):
        check_twins(LINEAR, "toy", "float32")


def test_a_twin_that_is_called_on_its_backend_is_what_gradcheck_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """gradcheck runs an op as the active backend does, so a wrong twin is a wrong gradient."""
    op = Op.registry["linear"]
    monkeypatch.setitem(op.backward.twins, "numpy", WRONG_BACKWARD["one sign"][1])
    with pytest.raises(AssertionError, match="The gradient of bias"):
        gradcheck(op, LINEAR.make())
