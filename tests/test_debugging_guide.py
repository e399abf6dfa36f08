"""The guide to debugging: each block runs and prints what the guide shows, but for the numbers; its pdb session too."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from guide import blocks_of, masked, shown_after
from limits import HANGS

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "debugging.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = blocks_of(GUIDE)
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT)))


def test_python_blocks_print_what_the_guide_shows() -> None:
    namespace: dict[str, Any] = {"__name__": "train"}
    for code, text in shown_after(BLOCKS, "python"):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, "train.py", "exec"), namespace)
        assert masked(output.getvalue().replace(f"{ROOT}{os.sep}", "")) == masked(text)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from Python 3.13 on pdb stops at breakpoint(), a line before")
def test_pdb_answers_what_the_guide_shows(tmp_path: Path) -> None:
    ((_, session),) = [block for block in BLOCKS if block[0] == "console"]
    command, _, shown = session.partition("\n")
    program = next(code for code, _ in shown_after(BLOCKS, "python") if "breakpoint()" in code)
    (tmp_path / "train.py").write_text(f"import numpy as np\n{program}\n\nmain()\n")
    hook = re.search(r"(PYTHONBREAKPOINT)=(\S+) python train.py", command)
    assert hook is not None
    typed = re.findall(r"^\(Pdb\) (.*)\n", shown, re.M)
    done = subprocess.run(
        [sys.executable, "train.py"],
        input="\n".join(typed) + "\n",
        env={**os.environ, "PYTHONPATH": str(ROOT), hook[1]: hook[2]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    printed = done.stdout.replace(f"{ROOT}{os.sep}", "").replace(f"{tmp_path}{os.sep}", "")
    printed = printed.partition("\n")[2]  # the first line is the place of the breakpoint itself
    assert masked(printed) == masked(re.sub(r"^\(Pdb\) .*\n", "(Pdb) ", shown, flags=re.M))


@pytest.mark.parametrize("link", LINKS)
def test_links_of_the_guide_lead_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    assert (GUIDE.parent / path).exists()
    if not path:
        heads = [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^## (.*)", TEXT, re.M)]
        assert anchor in heads


def test_commands_of_the_guide_parse() -> None:
    import shlex

    from minillm.cli.main import build_parser

    commands = re.findall(r"`minillm (debug[^`]*)`", TEXT)
    assert len(commands) >= 3
    for command in commands:
        build_parser().parse_args(shlex.split(command))


def test_every_name_that_the_package_exports_is_in_the_guide() -> None:
    from autograd import debug

    results = {"Flow", "NonFinite", "NonFiniteError", "SavedBytes", "Step", "Steps", "Summary", "DebugError"}
    assert [name for name in debug.__all__ if name not in results and name not in TEXT] == []
