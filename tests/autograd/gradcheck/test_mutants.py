"""The mutation catalogue: which bugs are made of a function, and that each is that bug and no more."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograd.gradcheck.mutants import KINDS, Mutant, mutants_of
from autograd.gradcheck.mutants.effects import first_slice, rolled

Array = np.ndarray


def affine_backward(dy: Array, x: Array, weight: Array, bias: Array | None, shape: tuple[int, ...]) -> Any:
    """One line of each sort; a docstring stays where it is."""
    dweight = dy.T @ x
    dweight += 0.5 * weight**2
    dbias = None if bias is None else dy.sum(0)
    return (dy @ weight).reshape(shape), dweight - 1, dbias


def scatter_backward(dy: Any, ids: Any, n: int, scale: float = 2.0, *, keep: float = 1.0) -> Any:
    dx = np.zeros((n, 2))
    np.add.at(dx, ids, dy * scale / keep)
    return dx * np.tri(n, 2)


def centred_backward(dy: Array, x: Array) -> tuple[Array]:
    dx = np.where(x > 0, dy, 0) - dy.mean(-1, keepdims=True)
    return tuple(part[::-1] for part in (dx, -dx))


def square_backward(dy: Array, x: Array) -> Array:
    return dy * (x * x)


def changes(function: Any, kind: str) -> set[str]:
    return {f"{mutant.before} -> {mutant.after}" for mutant in mutants_of(function) if mutant.kind == kind}


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (
            affine_backward,
            "sign",
            {
                "dweight += 0.5 * weight ** 2 -> dweight -= 0.5 * weight ** 2",
                "(dy @ weight).reshape(shape) -> -(dy @ weight).reshape(shape)",
                "dweight - 1 -> dweight + 1",
                "dweight - 1 -> -(dweight - 1)",
                "dbias -> None if dbias is None else -dbias",
            },
        ),
        (
            centred_backward,
            "sign",
            {
                "part[::-1] -> -part[::-1]",
                "-dx -> dx",
                "np.where(x > 0, dy, 0) - dy.mean(-1, keepdims=True)"
                " -> np.where(x > 0, dy, 0) + dy.mean(-1, keepdims=True)",
            },
        ),
        (
            affine_backward,
            "transpose",
            {
                "dy.T -> dy",
                "dy.T @ x -> dy.T @ x.swapaxes(-1, -2)",
                "dy @ weight -> dy.swapaxes(-1, -2) @ weight",
                "dy @ weight -> dy @ weight.swapaxes(-1, -2)",
            },
        ),
        (centred_backward, "transpose", {"part[::-1] -> part"}),
        (affine_backward, "dropped term", {"dweight - 1 -> dweight", "dweight - 1 -> -1"}),
        (
            affine_backward,
            "dropped factor",
            {"0.5 * weight ** 2 -> 0.5", "0.5 * weight ** 2 -> weight ** 2", "weight ** 2 -> weight"},
        ),
        (
            scatter_backward,
            "* for /",
            {
                "dy * scale -> dy / scale",
                "dy * scale / keep -> dy * scale * keep",
                "dx * np.tri(n, 2) -> dx / np.tri(n, 2)",
            },
        ),
        (affine_backward, "dropped accumulation", {"dweight += 0.5 * weight ** 2 -> dweight = 0.5 * weight ** 2"}),
        (
            scatter_backward,
            "dropped accumulation",
            {"np.add.at(dx, ids, dy * scale / keep) -> dx[ids] = dy * scale / keep"},
        ),
        (affine_backward, "wrong axis", {"dy.sum(0) -> dy.sum(-1)", "dy.sum(0) -> dy.sum(None)"}),
        (
            centred_backward,
            "wrong axis",
            {
                "dy.mean(-1, keepdims=True) -> dy.mean(-1)",
                "dy.mean(-1, keepdims=True) -> dy.mean(0, keepdims=True)",
                "dy.mean(-1, keepdims=True) -> dy.mean(None, keepdims=True)",
            },
        ),
        (
            affine_backward,
            "zeroed",
            {
                "(dy @ weight).reshape(shape) -> (dy @ weight).reshape(shape) * 0",
                "dweight - 1 -> (dweight - 1) * 0",
                "dbias -> None if dbias is None else dbias * 0",
            },
        ),
        (affine_backward, "wrong constant", {"0.5 -> 1.5", "2 -> 3", "1 -> 2"}),
        (centred_backward, "wrong constant", {"0 -> 1"}),
        (scatter_backward, "wrong constant", {"np.zeros -> np.ones"}),
        (
            scatter_backward,
            "off-by-one mask",
            {"np.tri(n, 2) -> np.tri(n, 2, k=0 - 1)", "np.tri(n, 2) -> np.tri(n, 2, k=0 + 1)"},
        ),
        (centred_backward, "off-by-one mask", {"x > 0 -> x >= 0"}),
        (affine_backward, "stale saved array", {"x -> rolled(x)", "weight -> rolled(weight)"}),
        (scatter_backward, "stale saved array", {"ids -> rolled(ids)"}),
        (affine_backward, "wrong broadcast sum", {"dy.sum(0) -> dy.mean(0)"}),
        (centred_backward, "wrong broadcast sum", {"dy.mean(-1, keepdims=True) -> dy.sum(-1, keepdims=True)"}),
        (affine_backward, "overwritten", {"dy.sum(0) -> first_slice(dy, 0)"}),
    ],
)
def test_kind(function: Any, kind: str, expected: set[str]) -> None:
    assert changes(function, kind) == expected


def test_the_table_above_leaves_no_kind_out() -> None:
    functions = (affine_backward, scatter_backward, centred_backward)
    assert {mutant.kind for function in functions for mutant in mutants_of(function)} == set(KINDS)


def test_two_changes_that_give_the_same_source_are_one_mutant() -> None:
    assert [m.name for m in mutants_of(square_backward) if "x * x -> x" in m.name] == [
        "square: dropped factor, line 2: x * x -> x",
        "square: * for /, line 2: x * x -> x / x",
    ]


@pytest.mark.parametrize("function", [affine_backward, scatter_backward, centred_backward, square_backward])
def test_names_are_unique_and_code_differs(function: Any) -> None:
    mutants = mutants_of(function)
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    codes = [f.__code__ for f in (function, *(mutant.function for mutant in mutants))]
    assert len({(code.co_code, code.co_consts, code.co_names) for code in codes}) == len(codes)


def find(function: Any, change: str) -> Mutant:
    return next(mutant for mutant in mutants_of(function) if change in mutant.name)


def test_a_mutant_computes_the_changed_formula_and_keeps_defaults() -> None:
    dy, x = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    np.testing.assert_array_equal(find(square_backward, "x * x -> x").function(dy, x), dy * x)
    np.testing.assert_array_equal(find(square_backward, "rolled(x)").function(dy, x), dy * [25, 9])
    dy, ids = np.ones((3, 2)), np.array([1, 1, 0])
    np.testing.assert_array_equal(scatter_backward(dy, ids, 2), [[2, 0], [4, 4]])
    overwrites = find(scatter_backward, "dx[ids] = ").function
    np.testing.assert_array_equal(overwrites(dy, ids, 2), [[2, 0], [2, 2]])
    np.testing.assert_array_equal(overwrites(dy, ids, 2, keep=0.5), [[4, 0], [4, 4]])


def test_line_and_place_lead_to_the_change() -> None:
    mutant = find(affine_backward, "dy.T -> dy")
    assert mutant.line == 3
    path, line = mutant.place.rsplit(":", 1)
    assert path == __file__
    assert "dy.T @ x" in Path(path).read_text("utf-8").splitlines()[int(line) - 1]


def test_a_planted_mutant_runs_wherever_the_function_is_known_and_is_gone_after_an_error() -> None:
    call = functools.partial(square_backward, np.ones(1), np.full(1, 3.0))
    try:
        with find(square_backward, "x * x -> x").planted():
            planted = call()
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert (planted, call()) == (3, 9)


@given(
    x=hnp.arrays(int, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), elements=st.integers(0, 9)),
    data=st.data(),
)
def test_effects_keep_the_shapes_of_what_they_stand_for(x: Any, data: st.DataObject) -> None:
    moved = rolled(x)
    assert moved.shape == x.shape
    np.testing.assert_array_equal(np.sort(moved, None), np.sort(x, None))
    axes = data.draw(st.none() | st.sets(st.integers(0, x.ndim - 1)).map(tuple)) if x.ndim else None
    keepdims = data.draw(st.booleans())
    if all(n for n in x.shape):
        first = first_slice(x, axes, keepdims=keepdims)
        assert np.shape(first) == np.shape(x.sum(axes, keepdims=keepdims))
        summed = range(x.ndim) if axes is None else axes
        place = tuple(0 if i in summed else slice(None) for i in range(x.ndim))
        np.testing.assert_array_equal(np.ravel(first), x[place].ravel())


@pytest.mark.parametrize("function", [len, lambda dy: dy, functools.partial(square_backward), 3])
def test_what_has_no_source_of_its_own_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="has no source of its own to mutate"):
        mutants_of(function)


def test_a_function_that_uses_variables_around_it_is_refused() -> None:
    factor = 2.0

    def inner_backward(dy: Any) -> Any:
        return dy * factor

    with pytest.raises(ValueError, match="inner_backward uses variables of the function around it"):
        mutants_of(inner_backward)


def test_a_function_whose_source_is_gone_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def typed_backward(dy):\n    return -dy", namespace)
    with pytest.raises(ValueError, match="source of typed_backward cannot be read"):
        mutants_of(namespace["typed_backward"])
