"""`python -m benchmarks.debug_cost`: the copy without hooks has none, and computes the same; nothing is timed."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import debug_cost
from benchmarks.debug_cost import HOOKS, PACKAGES, cost, write_copies
from benchmarks.rounds import Measured

STEP = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import minillm
from minillm import GPT, GPTConfig
assert minillm.__file__.startswith(sys.argv[1])
model = GPT(GPTConfig.preset("nano"))
loss = model.loss(np.zeros((1, 4), int), np.zeros((1, 4), int))
loss.backward()
print(hasattr(loss.node, "origin"), model.flat.grad.tobytes().hex())
"""


def test_the_copies_differ_in_the_hooks_alone_and_compute_the_same(tmp_path: Path) -> None:
    copies = write_copies(tmp_path)
    files = [p.relative_to(copies["with"]) for name in PACKAGES for p in (copies["with"] / name).rglob("*.py")]
    _, different, missing = filecmp.cmpfiles(copies["with"], copies["without"], map(str, files), shallow=False)
    assert (sorted(different), missing) == (sorted(HOOKS), [])
    printed = [
        subprocess.run([sys.executable, "-c", STEP, str(copy)], capture_output=True, text=True, check=True).stdout
        for copy in copies.values()
    ]
    (has, gradient), (has_not, same) = (text.split() for text in printed)
    assert (has, has_not) == ("True", "False")
    assert gradient == same


def test_a_hook_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HOOKS, "autograd/tape.py", [("no such line\n", "")])
    with pytest.raises(ValueError, match=r"autograd/tape.py has this hook 0 times, and should once; mend HOOKS"):
        write_copies(tmp_path)


def test_the_cost_is_of_rounds_beside_each_other_and_of_the_fastest() -> None:
    seen = {"without": Measured(seconds=[1.0, 2.0, 4.0]), "with": Measured(seconds=[1.1, 2.0, 8.0])}
    assert cost(seen, "with") == pytest.approx({"low": 0.05, "median": 0.1, "high": 0.55, "fastest": 0.1})


def test_what_was_measured_is_below_the_limit_that_the_guide_names() -> None:
    reports = json.loads(debug_cost.RESULT.read_text("utf-8"))["reports"]
    assert [report["backend"] for report in reports] == ["numba", "numpy"]
    assert max(report["cost"]["median"] for report in reports) < debug_cost.LIMIT
    assert max(report["cost_of_origins"] for report in reports) < debug_cost.LIMIT
