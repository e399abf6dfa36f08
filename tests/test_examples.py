"""Backprop by hand equals the tape, and the exercises' forwards compute what the layers do."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minillm.layers.activations import gelu_tanh_forward
from minillm.layers.attention import attention_forward
from minillm.layers.cross_entropy import cross_entropy_forward
from minillm.layers.embedding import embedding_forward
from minillm.layers.layernorm import layernorm_forward
from minillm.layers.linear import linear_forward

EXAMPLES = Path(__file__).parents[1] / "examples"
BY_HAND = EXAMPLES / "backprop_by_hand.py"


def test_backprop_by_hand_has_no_tensor_and_no_tape_in_its_two_functions() -> None:
    passes = BY_HAND.read_text(encoding="utf-8").partition("def forward")[2].partition("def main")[0]
    assert not re.search(r"Tensor|model|\.grad\b|\.backward\(", passes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backprop_by_hand_equals_the_tape_bit_by_bit(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    equal = runpy.run_path(str(BY_HAND))["main"](dtype)
    assert len(equal) == 29
    assert all(equal.values())
    assert capsys.readouterr().out.endswith(
        "29 of 29 are equal bit by bit: the loss, and the gradient of each weight.\n"
    )


@pytest.mark.parametrize(
    ("line", "slip", "differs"),
    [
        ('g["token_embedding.weight"] += dweight', "pass", {"token_embedding.weight"}),
        (  # the same sum in another order: equal on paper, not in the last bits
            'g["token_embedding.weight"] += dweight',
            'np.add.at(g["token_embedding.weight"], ids, dx)',
            {"token_embedding.weight"},
        ),
        ("embedding_backward(dx.sum(0)", "embedding_backward(dx[0]", {"position_embedding.weight"}),
    ],
)
def test_a_slip_in_backprop_by_hand_shows(
    line: str, slip: str, differs: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = BY_HAND.read_text(encoding="utf-8")
    assert source.count(line) == 1
    namespace: dict[str, Any] = {"__name__": "by_hand"}
    exec(compile(source.replace(line, slip.replace("ids", 'saved["tokens"][0]')), str(BY_HAND), "exec"), namespace)
    assert {name for name, same in namespace["main"]().items() if not same} == differs
    assert "no, off by " in capsys.readouterr().out


def handed_out(name: str) -> dict[str, Any]:
    (path,) = EXAMPLES.glob(f"exercises/[1-8]_{name}.py")
    return runpy.run_path(str(path))


def test_the_exercises_compute_what_the_layers_do() -> None:
    rng = np.random.default_rng(0)
    layers = {
        "linear": linear_forward,
        "embedding": embedding_forward,
        "gelu": gelu_tanh_forward,
        "cross_entropy": cross_entropy_forward,
        "layernorm": layernorm_forward,
    }
    for name, layer in layers.items():
        exercise = handed_out(name)
        arrays, attributes = exercise["inputs"](rng)
        ours, theirs = exercise[f"{name}_forward"](*arrays, **attributes)[0], layer(*arrays, **attributes)[0]
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_attention_of_the_exercise_is_that_of_the_layer() -> None:
    exercise = handed_out("attention")
    q, k, v = exercise["inputs"](np.random.default_rng(0))[0]  # (H, T, D)
    H, T, D = q.shape
    qkv = np.concatenate([part.transpose(1, 0, 2).reshape(1, T, H * D) for part in (q, k, v)], -1)  # (1, T, 3C)
    y = attention_forward(qkv, n_head=H)[0].reshape(T, H, D).transpose(1, 0, 2)  # (H, T, D)
    np.testing.assert_allclose(exercise["attention_forward"](q, k, v)[0], y, rtol=1e-12)
