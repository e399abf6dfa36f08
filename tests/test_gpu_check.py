"""The program of `make gpu-check`, on the strict stand-in: what it compares, what it writes, and how it says no."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import standin

from autograd import BackendError, backends
from benchmarks import gpu_check
from minillm.config import PRESETS
from minillm.layers.layernorm import layernorm


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_check, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_check, "ROOT", tmp_path)
    source = "def add(a, b):\n    return a + b\n" * 20
    (tmp_path / "minillm").mkdir()
    (tmp_path / "minillm" / "some.py").write_text(source)
    monkeypatch.setitem(PRESETS, "python-tiny", PRESETS["nano"])
    monkeypatch.setattr("sys.argv", ["gpu_check", "--steps", "20"])


def test_on_the_stand_in_only_the_short_training_is_not_enough(
    tmp_path: Path, strict_cupy: type[standin.Waits]
) -> None:
    assert gpu_check.main() == 1
    result = json.loads((tmp_path / "stand-in.json").read_text())
    assert result["wrong"].keys() == {"training"}  # 20 steps of a tiny model do not lower the loss by 1
    assert result["gradient_difference"]["float64"] < 1e-12


def test_a_wrong_result_is_found_and_named(
    tmp_path: Path,
    strict_cupy: type[standin.Waits],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = layernorm.backward.reference

    def wrong_on_the_device(dy, *saved):  # type: ignore[no-untyped-def]
        dx, *rest = right(dy, *saved)
        return (dx if isinstance(dx, np.ndarray) else dx * 1.01, *rest)

    monkeypatch.setattr(layernorm.backward, "reference", wrong_on_the_device)
    assert gpu_check.main() == 1
    assert "WRONG  float64, layernorm: plain: differs by" in capsys.readouterr().err
    assert "float64, gradients of the model" in json.loads((tmp_path / "stand-in.json").read_text())["wrong"]


def test_without_a_gpu_it_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with suppress(BackendError):
        backends.load("cupy")
        pytest.skip("this machine has a GPU")
    assert gpu_check.main() == 2
    message = capsys.readouterr().err
    assert message.startswith("gpu-check: backend 'cupy' needs")
    assert message.count("\n") == 1
