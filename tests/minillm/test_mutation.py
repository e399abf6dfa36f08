"""The mutation score's runner, on a toy project whose tests are weak on purpose, and the catalogue of this one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from limits import HANGS

from autograd import Op
from autograd.gradcheck.mutants import KINDS, Mutant, mutants_of
from minillm import UserError
from minillm.check import catalogue, mutation
from minillm.check.planting import Outcome, plant_and_test

ROOT = Path(__file__).parents[2]

TOY = """
import os

def toy_backward(dy, x):
    if x - x:
        os._exit(3)
    return -dy

def count_backward(n):
    while n > 0:
        n -= 1
    return 1 - 0
"""
TESTS = """
import os
from hypothesis import given, strategies
from toy import count_backward, toy_backward

def test_toy(tmp_path):
    (tmp_path / "file").touch()
    assert toy_backward(2, 5) == -2

@given(strategies.integers(1, 9))
def test_toy_with_drawn_numbers(dy):
    print("what a test prints is nobody's business")
    os.write(1, b"nor this")
    assert toy_backward(dy, 5) < 0

def test_other():
    count_backward(2)
"""
RUN = """
import json, re, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell start with it ignored
sys.path.insert(0, str(Path(sys.argv[1])))
import toy
from autograd.gradcheck.mutants import mutants_of
from minillm.check.planting import plant_and_test
functions = (toy.toy_backward, toy.count_backward)
codes = [function.__code__ for function in functions]
mutants = [m for function in functions for m in mutants_of(function) if re.match(sys.argv[3], m.name)]
root = Path(sys.argv[1])
outcomes = plant_and_test(mutants, [root / "tests"], config=root / "pyproject.toml", time_limit=float(sys.argv[2]))
assert codes == [function.__code__ for function in functions]
print(json.dumps({outcome.mutant.name: outcome.killed_by for outcome in outcomes}))
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    return tmp_path


def start(root: Path, time_limit: float = HANGS, *, names: str = "") -> subprocess.Popen[str]:
    """Plant the mutants whose names begin as this expression does."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), str(time_limit), names],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_each_mutant_is_tested_alone_and_only_there(toy: Path) -> None:
    endless = "count: sign, line 3: n -= 1 -> n += 1"
    before = sorted(path.name for path in toy.rglob("*"))
    outcomes: dict[str, Any] = {}
    for names, options in ((f"(?!{re.escape(endless)})", {}), (re.escape(endless), {"time_limit": 0.5})):
        with start(toy, **options, names=names) as process:
            output, errors = process.communicate()
        assert process.returncode == 0, errors
        outcomes |= json.loads(output)  # and nothing that a test has printed
    assert outcomes["toy: sign, line 4: -dy -> dy"] == "tests/test_toy.py::test_toy"
    assert outcomes["toy: zeroed, line 4: -dy -> -dy * 0"] == "tests/test_toy.py::test_toy"
    assert outcomes["toy: sign, line 2: x - x -> x + x"] == "its process died"
    assert outcomes[endless] == "no end within the time limit"
    assert outcomes["count: sign, line 4: 1 - 0 -> 1 + 0"] is None
    assert outcomes["count: zeroed, line 4: 1 - 0 -> (1 - 0) * 0"] is None
    assert outcomes["count: off-by-one mask, line 2: n > 0 -> n >= 0"] is None
    assert sorted(path.name for path in toy.rglob("*")) == before  # no cache, no database of examples


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def test_toy(): assert 0",
            "without any mutant, the tests fail (tests/test_toy.py::test_toy): mend that first",
        ),
        ("import nothing_of_this_name", "without any mutant, tests/test_toy.py cannot be collected: mend that first"),
        ("", "without any mutant, there is no test: mend that first"),
    ],
)
def test_tests_that_fail_without_a_mutant_score_nothing(toy: Path, text: str, message: str) -> None:
    (toy / "tests" / "test_toy.py").write_text(text)
    with start(toy) as process:
        _, errors = process.communicate()
    assert errors.rstrip().splitlines()[-1] == f"minillm.errors.UserError: {message}"


def test_an_interrupt_ends_it_and_its_children(toy: Path) -> None:
    place = toy / "process"
    sleep = f"""
import os, pathlib, time
def test_toy():
    pathlib.Path({str(place)!r}).write_text(str(os.getpid()))
    time.sleep({HANGS})
"""
    (toy / "tests" / "test_toy.py").write_text(sleep)
    with start(toy) as process:
        while not (place.exists() and place.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANGS)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def toy_backward(dy: Any, x: Any) -> Any:
    return dy * x


PROOFS = {"toy: dropped factor, line 2: dy * x -> dy": "because", "toy: * for /, line 2: dy * x -> dy / x": "hence"}


def outcomes(survivors: set[str]) -> list[Outcome]:
    return [Outcome(m, None if m.name in survivors else "some test") for m in mutants_of(toy_backward)]


def test_the_report_counts_and_names_survivors_and_proofs() -> None:
    survivor, listed, noticed = "toy: zeroed, line 2: dy * x -> dy * x * 0", *PROOFS
    text = "\n".join(mutation.report(outcomes({survivor, listed}), PROOFS))
    rows = {line.rsplit(maxsplit=4)[0]: line.split()[-4:] for line in text.splitlines() if line[-1:].isdigit()}
    assert rows["zeroed"] == ["1", "0", "0", "1"]  # mutants, killed, equal, survived
    assert rows["dropped factor"] == ["2", "1", "1", "0"]
    assert rows["toy"] == rows["all"] == ["6", "4", "1", "1"]
    assert f"SURVIVED {survivor}\n  {__file__}:" in text
    assert f"equal {listed}\n  because" in text
    assert f"NOT EQUAL {noticed}\n" in text
    assert "proof: hence; but noticed: some test" in text


@pytest.mark.parametrize(
    ("survivors", "good"), [(set(PROOFS), True), ({next(iter(PROOFS))}, False), ({*PROOFS, "toy: zeroed"}, False)]
)
def test_good_means_that_exactly_the_proven_ones_survive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], survivors: set[str], good: bool
) -> None:
    mutants = mutants_of(toy_backward)
    chosen = {mutant.name for mutant in mutants if any(name in mutant.name for name in survivors)}
    monkeypatch.setattr(mutation, "project_mutants", lambda: mutants)
    monkeypatch.setattr(mutation, "EQUIVALENT", PROOFS)
    monkeypatch.setattr(mutation, "plant_and_test", lambda *args, **options: outcomes(chosen))
    assert mutation.run_mutants() is good
    assert "mutants  killed  equal  survived" in capsys.readouterr().out


def test_a_proof_of_a_mutant_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "EQUIVALENT", {"layernorm: no such thing": "because"})
    with pytest.raises(UserError, match="do not exist, take them out: layernorm: no such thing"):
        mutation.run_mutants()


def test_without_the_tests_it_says_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    with pytest.raises(UserError, match="mutants can be run in a clone of the repository only"):
        mutation.run_mutants()


def test_what_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers is 0: give a whole number of 1 or more"):
        plant_and_test([], [tmp_path], config=tmp_path, workers=0)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match="mutants need pytest, which is not installed: pip install"):
            plant_and_test([], [tmp_path], config=tmp_path)
    monkeypatch.delattr(os, "fork")
    with pytest.raises(UserError, match="forked processes, which this system does not have"):
        plant_and_test([], [tmp_path], config=tmp_path)


@pytest.fixture(scope="module")
def project() -> list[Mutant]:
    return list(catalogue.project_mutants())


def test_the_catalogue_holds_every_backward_and_every_kind(project: list[Mutant]) -> None:
    assert len(project) >= 150
    assert len({mutant.name for mutant in project}) == len(project)
    assert {mutant.kind for mutant in project} == set(KINDS)
    ours = {
        op for op in Op.registry.values() if op.backward.reference.__module__.split(".")[0] in ("autograd", "minillm")
    }
    mutated = {mutant.original for mutant in project}
    assert {op.backward.reference for op in ours} <= mutated
    assert {function for function, _ in catalogue.HELPERS} <= mutated  # no pattern that finds nothing


def test_the_bugs_that_others_shipped_are_in_the_catalogue(project: list[Mutant]) -> None:
    """A transposed gradient of the keys, layer norm without its second mean, an embedding that overwrites."""
    after = {mutant.name.split(":")[0]: set() for mutant in project}
    for mutant in project:
        after[mutant.name.split(":")[0]].add(mutant.after)
    assert "dscores" in after["attention"]
    assert "dscores.swapaxes(-1, -2) @ (q * scale) * 0" in after["attention"]
    assert "dxhat - through_mean" in after["layernorm"]
    assert "rows[order][starts]" in after["scatter_add"]
    assert "dscores @ k" in after["attention"]  # no 1/sqrt(d)
