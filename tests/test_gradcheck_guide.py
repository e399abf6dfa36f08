"""The guide to gradcheck and its examples: each block runs, and prints what the guide shows but for the numbers."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from guide import blocks_of, masked, shown_after

from minillm.cli.main import main

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "gradcheck.md"
BLOCKS = blocks_of(GUIDE)


def test_python_blocks_print_what_the_guide_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    namespace: dict[str, Any] = {"__name__": "my_layers"}
    for code, text in shown_after(BLOCKS, "python"):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, str(GUIDE), "exec"), namespace)
        assert masked(output.getvalue()) == masked(text)


def test_commands_print_what_the_guide_shows(capsys: pytest.CaptureFixture[str]) -> None:
    for command, text in shown_after(BLOCKS, "sh"):
        assert main(shlex.split(command)[1:]) == 0
        assert masked(capsys.readouterr().out) == masked(text)


def test_the_pytest_block_passes_and_ends_with_the_line_shown(pytester: pytest.Pytester) -> None:
    ((code, text),) = shown_after(BLOCKS, "py")
    prelude = BLOCKS[0][1].rpartition("print")[0]  # the guide's first layer
    pytester.makepyfile(f"import pytest\n{prelude}\n{code}")
    result = pytester.runpytest_inprocess("-W", "error")
    result.assert_outcomes(passed=1)
    assert masked(text) in [masked(line) for line in result.outlines]


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\(([^)#]+)\)", GUIDE.read_text(encoding="utf-8"))))
def test_links_of_the_guide_lead_somewhere(path: str) -> None:
    assert (GUIDE.parent / path).exists()


def test_the_example_of_a_layer_passes_and_names_its_planted_bug(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "check_your_own_layer.py"))["main"]()
    right, wrong = capsys.readouterr().out.split("With a bug planted:")
    assert right.count("gradients are right") == 2
    assert right.count("complex step") == right.count("composition") == 4  # all three oracles, for all four gradients
    assert "diagnosis: looks like a missing sum over axis 0" in wrong


def test_the_example_in_plain_numpy_passes(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples" / "check_plain_numpy.py"
    runpy.run_path(str(path))["main"]()
    assert capsys.readouterr().out.count("gradients are right") == 2
    assert re.findall(r"^(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.M) == [
        "numpy",
        "autograd",
        "autograd",
    ]
