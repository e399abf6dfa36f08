"""`minillm check`: a row for each layer, and the whole diagnosis of what is wrong."""

import re

import pytest

from minillm.cli.main import main
from minillm.layers import layernorm


def test_a_row_for_each_layer_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--layer", "linear", "relu", "--layer", "attention_padded", "linear"]) == 0
    header, *rows, blank, totals, worst = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["linear", "relu", "attention_padded"]
    columns = dict(zip(header.split(), rows[1].split(), strict=True))
    assert (columns["right"], columns["kinks"], columns["laws"]) == ("1/1", "1", "2/2")
    assert rows[0].split()[1] == "3/3"
    for row in rows:
        for oracle in row.split()[2:5]:
            assert float(oracle) < 1e-11
    assert (blank, totals.startswith("All 3 layers passed. 5 gradients, 12 laws, ")) == ("", True)
    assert re.fullmatch(r"The largest difference is \d\.\d% of what rounding explains\.", worst)


def test_more_seeds_are_summed_up_in_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--layer", "relu", "--seeds", "4", "--seed", "7", "--dtype", "float32"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert (row[1], row[6], row[7]) == ("1/1", "4", "2/2")


@pytest.fixture
def wrong_layernorm(monkeypatch: pytest.MonkeyPatch) -> None:
    """LayerNorm's backward without the path through the deviation."""

    def layernorm_backward(dy, x, mean, rstd, weight, bias):
        xhat, rows = (x - mean) * rstd, tuple(range(dy.ndim - 1))
        dxhat = dy * weight
        return rstd * (dxhat - dxhat.mean(-1, keepdims=True)), (dy * xhat).sum(rows), dy.sum(rows)

    monkeypatch.setattr(layernorm.layernorm.backward, "reference", layernorm_backward)


def test_a_wrong_gradient_is_told_in_full(wrong_layernorm: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--layer", "layernorm", "linear", "--seeds", "2"]) == 1
    _, layernorm_row, linear_row, *text = capsys.readouterr().out.splitlines()
    assert (layernorm_row.split()[1], linear_row.split()[1]) == ("2/3", "3/3")
    assert layernorm_row.split()[7] == "-"  # laws are not asked of a wrong gradient
    assert "layernorm with seed 0: " in text[1]
    told = "\n".join(text)
    assert "worst at x[" in told
    assert "diagnosis: " in told
    assert "1 of 2 layers failed: layernorm. 6 gradients" in told


def test_the_table_fits_a_terminal(wrong_layernorm: None, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--layer", "layernorm", "causal_self_attention"])
    assert max(map(len, capsys.readouterr().out.splitlines()[:3])) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "atention"], "unknown layer 'atention': choose from attention, "),
        (["--layer", "zzz"], "unknown layer 'zzz': choose from linear, embedding, "),
        (["--seeds", "0"], "seeds is 0: give a whole number of at least 1"),
        (["--seed", "-1"], "seed is -1: give a whole number of at least 0"),
        (["--mutants", "--workers", "0"], "workers is 0: give a whole number of at least 1"),
        (["--mutants", "--layer", "relu"], "--mutants runs over the whole project: leave out --layer"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"minillm: error: {message}")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(("killed", "code"), [(True, 0), (False, 1)])
def test_mutants_are_handed_on(killed: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("minillm.check.mutation.run_mutants", lambda workers: asked.append(workers) or killed)
    assert main(["check", "--mutants", "--workers", "3"]) == code
    assert asked == [3]
