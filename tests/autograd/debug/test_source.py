"""What is shown of an op is what its file says: the formula from the docstring, the functions line by line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autograd import Op, Tensor, checkpoint
from autograd.debug.source import OpSource, formula_of, listing, op_source, shown_path
from autograd.ops import exp
from minillm.layers.activations import gelu_tanh
from minillm.layers.attention import attention
from minillm.layers.linear import linear

ROOT = Path(__file__).parents[3]
X = np.linspace(-1, 1, 6).reshape(2, 3)
pytestmark = pytest.mark.usefixtures("own_ops_are_forgotten")
MODULES = {name: op.forward.reference.__module__ for name, op in Op.registry.items()}
OURS = sorted(name for name, module in MODULES.items() if module.startswith(("autograd.", "minillm.")))


def scaled_forward(x, *, factor=2.0):
    return factor * x, (factor,)


def scaled_backward(dy, factor):
    return (factor * dy,)


def cube_forward(x):
    """The third power.

    y = x^3
    """
    return x * x * x, (3 * x * x,)


def source_of(op: Op, *arrays: np.ndarray, **attributes: object) -> OpSource:
    y = op(*(Tensor(a, requires_grad=True) for a in arrays), **attributes)
    assert y.node is not None
    return op_source(y.node)


def test_a_file_of_one_op_gives_its_formula_title_and_functions_with_their_line_numbers() -> None:
    source = source_of(linear, X, np.ones((4, 3)))
    assert (source.name, source.file) == ("linear", "minillm/layers/linear.py")
    assert source.title == "Linear layer: the same affine map for each row."
    assert source.formula == (
        "y = x @ weight^T + bias\ndx = dy @ weight      dweight = dy^T @ x      dbias = sum_rows dy"
    )
    lines = (ROOT / source.file).read_text("utf-8").splitlines()
    for part, name in ((source.forward, "linear_forward"), (source.backward, "linear_backward")):
        assert part.lines[0].startswith(f"def {name}(")
        assert part.lines == lines[part.first - 1 : part.first - 1 + len(part.lines)]
        assert part.lines[-1].startswith("    return ")


def test_a_file_of_several_ops_gives_the_formula_of_the_one_that_is_asked_for() -> None:
    assert source_of(exp, X).formula == "exp       y = e**x       dx = dy * y"
    assert source_of(Op.registry["transpose"], X).formula == "reshape, transpose      dx = dy, moved back"
    formula = source_of(gelu_tanh, X).formula
    assert [line[:19] for line in formula.splitlines()] == ["gelu_tanh  u = 2 sq", "           dx = dy "]


def test_formulas_among_prose_are_found_and_stay_apart_as_they_stand() -> None:
    formula = source_of(attention, np.ones((1, 2, 6)), n_head=1).formula
    assert [line.split("=")[0].strip() for line in formula.splitlines()] == [
        "scores",
        "",
        "dprobs",
        "dscores",
        "dq",
    ]


@pytest.mark.parametrize("name", OURS)
def test_every_op_of_ours_has_a_formula_and_both_listings(name: str) -> None:
    op = Op.registry[name]
    y = Tensor(X, requires_grad=True) * 1
    assert y.node is not None
    y.node.op = op
    source = op_source(y.node)
    assert "=" in source.formula
    assert "return " not in source.formula
    assert source.title.endswith(".")
    assert source.forward.lines[0].startswith(f"def {name}_forward(")
    assert source.backward.lines[0].startswith(f"def {name}_backward(")


def test_without_a_formula_in_a_docstring_what_the_forward_returns_is_the_formula() -> None:
    source = source_of(Op(scaled_forward, scaled_backward), X)
    assert source.formula == "return factor * x, (factor,)"
    assert source.file == "tests/autograd/debug/test_source.py"


def test_a_formula_may_stand_in_the_function_s_own_docstring() -> None:
    assert source_of(Op(cube_forward, scaled_backward), X).formula == "y = x^3"


def test_a_title_is_no_formula_and_prose_between_formulas_leaves_one_empty_line() -> None:
    docstring = "The power n = 3.\n\ny = x**3\n\nThis needs\nsome words.\n\ndx = 3 x**2 dy\n"
    assert formula_of("cube", docstring) == "y = x**3\n\ndx = 3 x**2 dy"


def test_an_op_typed_at_a_prompt_gives_its_name_and_no_lines() -> None:
    scope: dict[str, Op] = {}
    code = "def half_forward(x):\n    return x / 2, ()\n\ndef half_backward(dy):\n    return (dy / 2,)\n"
    exec(compile(code, "<prompt>", "exec"), {"__name__": "nowhere"}, scope)
    source = source_of(Op(scope["half_forward"], scope["half_backward"]), X)
    assert (source.name, source.file, source.formula, source.title) == ("half", "<prompt>", "", "")
    assert (source.backward.first, source.backward.lines) == (4, [])


def test_a_checkpoint_has_the_backward_that_runs_it_again() -> None:
    y = checkpoint(lambda x: x * x, Tensor(X, requires_grad=True))
    assert y.node is not None
    source = op_source(y.node)
    assert (source.name, source.file, source.forward.lines) == ("checkpoint", "autograd/checkpoint.py", [])
    assert source.backward.lines[0].strip().startswith("def checkpoint_backward(")
    assert source.title.startswith("Activation checkpointing")


def test_a_function_of_c_has_no_listing() -> None:
    assert listing(np.add).lines == []
    assert listing(len).lines == []


def test_a_path_outside_of_the_project_is_shown_by_what_is_the_same_on_each_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine" / "ops.py"
    assert shown_path(str(file)) == "ops.py"
    monkeypatch.chdir(tmp_path)
    assert shown_path(str(file)) == "mine/ops.py"
