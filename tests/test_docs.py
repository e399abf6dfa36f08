"""What the README and the examples say is true."""

import importlib
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS

from autograd.gradcheck import GradcheckError, gradcheck

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_the_readme_shows_commands():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_commands_of_the_readme_are_targets(command):
    assert f"\n{shlex.split(command)[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [c for c in COMMANDS if "/minillm " in c])
def test_minillm_commands_of_the_readme_parse(command):
    from minillm.cli.main import build_parser

    build_parser().parse_args(shlex.split(command)[1:])  # argparse exits on an option it does not know


@pytest.mark.parametrize("command", [c for c in COMMANDS if "/python " in c])
def test_programs_of_the_readme_are_there(command):
    assert any((ROOT / part).is_file() for part in shlex.split(command)[1:])


def test_extras_of_the_readme_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"pip install -e '\.\[(\w+)\]'", README)) <= set(extras)


def test_python_in_the_readme_runs(capsys):
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import" in block]
    training, checking = (compile(block, "README.md", "exec") for block in blocks)
    exec(training, {})
    assert "blocks.0.attn.qkv.weight (384, 128) (384, 128)" in capsys.readouterr().out
    shown = re.search(r"# GradcheckError: \.\.\. (.*) \.\.\.\n", README)[1]
    with pytest.raises(GradcheckError, match=re.escape(shown)):
        exec(checking, {})


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\(([^)#]+)\)", README)))
def test_links_of_the_readme_lead_somewhere(path):
    assert (ROOT / path).exists()


def test_example_learns_its_sentence(capsys):
    example = runpy.run_path(str(ROOT / "examples" / "train_in_thirty_lines.py"))
    assert example["main"]().startswith("goes down proves nothing")


def test_the_breakpoint_of_the_readme_stops_one_frame_below_the_example():
    breakpoint_ = re.search(r"`(b \S+:\d+)`", README)[1]
    commands = [part for command in (breakpoint_, "c", "where", "p dy.shape", "q") for part in ("-c", command)]
    command = [sys.executable, "-m", "pdb", *commands, "examples/train_in_thirty_lines.py"]
    session = subprocess.run(command, cwd=ROOT, input="", capture_output=True, text=True, timeout=HANGS).stdout
    frames = re.findall(r"\.py\(\d+\)(\w+)\(", session)
    assert frames[-3:] == ["main", "backward", "layernorm_backward"]
    assert "(8, 32, 64)" in session  # dy


@pytest.mark.usefixtures("own_ops_are_forgotten")
def test_the_op_of_contributing_and_its_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)]
    (tmp_path / "squared_relu_of_the_guide.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    op = importlib.import_module("squared_relu_of_the_guide").squared_relu
    x, dy = np.random.default_rng(0).standard_normal((2, 5, 7)).astype("float32")
    (positive,) = op.forward.reference(x)[1]
    np.testing.assert_array_equal(op.backward.on("numba")(dy, positive)[0], op.backward.reference(dy, positive)[0])
    gradcheck(op, [x.astype("float64")])
