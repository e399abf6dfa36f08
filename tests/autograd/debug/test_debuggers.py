"""Any Python debugger steps through backprop: a real `bdb` debugger steps here, and lists the frames it enters."""

from __future__ import annotations

import bdb
import fnmatch
import gc
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from limits import HANGS

from autograd import Op, Tensor, ops
from autograd.debug import break_on
from autograd.debug.debuggers import HELPERS, SKIP
from autograd.tape import tape
from minillm import GPT, GPTConfig
from minillm.layers import layernorm

ROOT = Path(__file__).parents[3]
LAUNCH = json.loads((ROOT / ".vscode" / "launch.json").read_text("utf-8"))


class Stepper(bdb.Bdb):
    """Presses `s` all the time.

    Attributes:
        entered: the stack of each call it stepped into, innermost function first, up to `walk`.
        threads: on which it did.
        lines: how many it stopped at.
    """

    def __init__(self, skip: list[str] | None = None) -> None:
        super().__init__(skip)
        self.entered: list[list[str]] = []
        self.modules: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.lines = 0
        self._seen: list[FrameType] = []

    def user_line(self, frame: FrameType) -> None:
        self.lines += 1
        if frame.f_code is not walk.__code__ and all(frame is not seen for seen in self._seen):
            self._seen.append(frame)
            self.modules.append(frame.f_globals["__name__"])
            self.entered.append(stack(frame))
            self.threads.add(threading.current_thread())
        self.set_step()


def stack(frame: FrameType | None) -> list[str]:
    names = []
    while frame is not None and frame.f_code.co_name != "walk":
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def walk(debugger: bdb.Bdb, start: Callable[[], Any]) -> None:
    """Step from the call of `start` to its end."""
    debugger.reset()
    debugger.set_step()
    gc.disable()  # a collection may call functions of others, such as Hypothesis's
    sys.settrace(debugger.trace_dispatch)
    try:
        start()
    finally:
        sys.settrace(None)
        gc.enable()


def gpt_loss() -> Tensor:
    config = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, d_model=8, dropout=0.1)
    ids = np.arange(8)[None] % 11  # (1, 8)
    return GPT(config).loss(ids, ids)


def backwards_of(loss: Tensor) -> list[str]:
    return [f"{node.op}_backward" for node in tape(loss)]


def test_stepping_meets_every_backward_one_frame_below_the_caller_on_the_main_thread() -> None:
    loss, debugger = gpt_loss(), Stepper()
    expected = backwards_of(loss)

    def caller() -> None:
        loss.backward()

    walk(debugger, caller)
    met = [names for names in debugger.entered if names[0].endswith("_backward")]
    assert met == [[name, "backward", "caller"] for name in expected]
    assert len(expected) > 30
    assert debugger.threads == {threading.main_thread()}


def test_with_the_helpers_skipped_it_enters_backward_and_then_hand_written_gradients_and_what_they_call() -> None:
    loss, debugger = gpt_loss(), Stepper(SKIP)
    expected = backwards_of(loss)

    def caller() -> None:
        loss.backward()

    walk(debugger, caller)
    caller_, backward, *gradients = debugger.entered
    assert (caller_, backward) == (["caller"], ["backward", "caller"])
    assert [names[0] for names in gradients if len(names) == 3] == expected
    for names in gradients:
        assert names[-3].endswith("_backward"), names  # it is one, or was called by one
        assert names[-2:] == ["backward", "caller"]


@pytest.mark.parametrize("criterion", [{"layer": "blocks.*.ln1"}, {"param": "*.bias"}, {"norm_above": 0.1}])
def test_stepping_on_while_a_break_on_looks_at_each_step_enters_hand_written_gradients(criterion: Any) -> None:
    fnmatch._compile_pattern.cache_clear()  # the first pattern takes a way of its own
    loss, debugger = gpt_loss(), Stepper(SKIP)
    expected = backwards_of(loss)
    with break_on(**criterion, call=lambda step: None):
        walk(debugger, lambda: loss.backward())
    assert [names[0] for names in debugger.entered if names[0].endswith("_backward")] == expected
    assert {name.split(".")[0] for name in debugger.modules} <= {__name__.split(".")[0], "autograd", "minillm"}
    assert {name for name in debugger.modules if name.startswith("autograd.") and ".ops." not in name} == {
        "autograd.tensor"  # backward itself
    }


def test_stepping_on_from_a_step_of_backward_steps_enters_the_next_hand_written_gradient() -> None:
    loss, debugger = gpt_loss(), Stepper(SKIP)
    expected = backwards_of(loss)

    def caller() -> None:
        for step in loss.backward_steps():
            assert step.flows

    walk(debugger, caller)
    entered = [names[0] for names in debugger.entered if names[1:2] == ["__next__"]]
    assert [name for name in entered if name.endswith("_backward")] == expected
    assert {name.split(".")[0] for name in debugger.modules} <= {__name__.split(".")[0], "autograd", "minillm"}


def test_a_breakpoint_by_file_and_line_in_a_backward_is_hit() -> None:
    file = inspect.getsourcefile(layernorm)
    assert file is not None
    lines, first = inspect.getsourcelines(layernorm.layernorm_backward)
    line = first + next(i for i, text in enumerate(lines) if "dx = rstd" in text)
    hits: list[dict[str, Any]] = []

    class Stops(bdb.Bdb):
        def user_line(self, frame: FrameType) -> None:
            if self.break_here(frame):
                hits.append({name: np.shape(value) for name, value in frame.f_locals.items()} | {"at": stack(frame)})
            self.set_continue()

    debugger = Stops()
    assert debugger.set_break(debugger.canonic(file), line) is None
    loss = gpt_loss()
    walk(debugger, lambda: loss.backward())
    debugger.clear_all_breaks()
    assert len(hits) == 5  # two norms in each of two blocks, and the last
    for hit in hits:
        assert hit["at"] == ["layernorm_backward", "backward", "<lambda>"]
        assert hit["dy"] == hit["xhat"] == hit["dxhat"] == (1, 8, 8)
        assert "dx" not in hit  # before the line runs


def test_every_backward_of_a_gpt_is_a_function_named_after_its_op_in_its_file() -> None:
    for node in tape(gpt_loss()):
        function = inspect.unwrap(node.backward)
        assert function is node.backward
        assert function.__code__.co_name == function.__name__ == f"{node.op}_backward"
        assert Path(function.__code__.co_filename).is_relative_to(ROOT)


def test_every_helper_is_a_module_and_holds_no_hand_written_gradient() -> None:
    pytest.importorskip("numba")  # is one of them, and some of them need it
    for name in HELPERS:
        module = importlib.import_module(name)
        assert not [f for f in vars(module) if f.endswith("_backward") and vars(module)[f].__module__ == name]
    homes = {op.backward.reference.__module__ for op in Op.registry.values()} | {"autograd.tensor"}
    assert not [home for home in homes for name in HELPERS if f"{home}.".startswith(f"{name}.")]


PROGRAM = """
import numpy as np
from autograd import Tensor
from minillm.layers import LayerNorm

def main():
    norm = LayerNorm(4, dtype="float64")
    loss = norm(Tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)).sum()
    breakpoint()
    loss.backward()
    print("done", norm.bias.grad)

main()
"""


def pdb_session(tmp_path: Path, *commands: str, hook: str = "autograd.debug.set_trace", text: str = PROGRAM) -> str:
    """What pdb prints when these commands are typed."""
    program = tmp_path / "train.py"
    program.write_text(textwrap.dedent(text))
    environment = {**os.environ, "PYTHONBREAKPOINT": hook, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    typed = "\n".join(commands) + "\n"
    done = subprocess.run(
        [sys.executable, str(program)], input=typed, capture_output=True, text=True, env=environment, timeout=HANGS
    )
    return done.stdout


def test_a_person_with_pdb_steps_from_backward_into_the_gradients(tmp_path: Path) -> None:
    """`s` to the call, `s` into backward, then `s` until the gradient of the sum and that of the norm."""
    printed = pdb_session(tmp_path, *["s"] * 55, "c")
    entered = re.findall(r"--Call--\n> \S+\.py\(\d+\)(\w+)\(", printed)
    order = [name for name in entered if name.endswith("backward")]
    assert order[:3] == ["backward", "reduce_sum_backward", "layernorm_backward"]
    before = printed[: printed.index("reduce_sum_backward")]
    assert before.count("(Pdb)") <= 10  # so few keys; one more where pdb stops at breakpoint() itself
    assert not re.findall(r"autograd/(?:tape|saved|kernel)\.py\(\d+\)", printed)
    assert "done [3. 3. 3. 3.]" in printed


def test_plain_pdb_reaches_a_gradient_by_a_breakpoint_and_names_its_arrays(tmp_path: Path) -> None:
    line = inspect.getsourcelines(layernorm.layernorm_backward)[1] + 3  # its first statement
    printed = pdb_session(
        tmp_path, f"b minillm/layers/layernorm.py:{line}", "c", "where", "args", "p dy.shape", "c", hook=""
    )
    frames = re.findall(r"\.py\(\d+\)(\w+)\(", printed)
    at = len(frames) - 1 - frames[::-1].index("layernorm_backward")
    assert frames[at - 2 : at + 1] == ["main", "backward", "layernorm_backward"]
    for name in ("dy", "x", "mean", "rstd", "weight", "bias"):
        assert f"{name} = array(" in printed
    assert "(3, 4)" in printed
    assert "done [3. 3. 3. 3.]" in printed


def test_a_break_on_stops_in_pdb_with_the_step_at_hand(tmp_path: Path) -> None:
    text = PROGRAM.replace("breakpoint()", "import autograd; autograd.debug.break_on(op='layernorm')")
    printed = pdb_session(
        tmp_path, "p stop.name", "p list(stop.arguments)", "stop.dxs[2] *= 2", "c", text=text, hook=""
    )
    assert "(LayerNorm): layernorm #" in printed
    assert "['dy', 'x', 'mean', 'rstd', 'weight', 'bias']" in printed
    assert "done [6. 6. 6. 6.]" in printed  # as edited


@pytest.mark.parametrize("configuration", LAUNCH["configurations"], ids=lambda c: c["name"])
def test_launch_configurations_of_vs_code_step_over_the_helpers_and_start_what_is_there(
    configuration: dict[str, Any],
) -> None:
    assert (configuration["type"], configuration["request"]) == ("debugpy", "launch")
    assert configuration["justMyCode"] is False  # so that `s` goes into the library
    assert configuration["rules"] == [{"module": name, "include": False} for name in HELPERS]
    if "program" in configuration:
        path = configuration["program"].replace("${workspaceFolder}", str(ROOT))
        assert path == "${file}" or Path(path).is_file()
    else:
        assert importlib.util.find_spec(configuration["module"]) is not None
    if configuration.get("module") == "minillm":
        from minillm.cli.main import build_parser

        build_parser().parse_args(configuration["args"])


def test_the_composed_path_steps_through_gradients_of_primitives() -> None:
    x, debugger = Tensor(np.ones(3), requires_grad=True), Stepper(SKIP)
    y = ops.tanh(x * 2).sum()
    walk(debugger, lambda: y.backward())
    assert [names[0] for names in debugger.entered[2:] if len(names) == 3] == [
        "reduce_sum_backward",
        "tanh_backward",
        "multiply_backward",
    ]
