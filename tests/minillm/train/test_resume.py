"""n steps, a stop of any kind, and N - n more give what N steps give, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS

from minillm import UserError
from minillm.tensor_file import read_tensors
from minillm.train import Trainer, metrics
from minillm.train.checkpoint import newest_checkpoint
from tests.minillm.train.conftest import MakeTrainer


def assert_equal_state(a: Trainer, b: Trainer) -> None:
    np.testing.assert_array_equal(a.model.flat.data, b.model.flat.data)
    state, other = a.optimizer.state(), b.optimizer.state()
    assert state.keys() == other.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], other[name], err_msg=name)
    assert a.loader.state_dict() == b.loader.state_dict()
    assert a.stream == b.stream


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("n", [2, 6])
def test_resumed_run_equals_straight_run(make_trainer: MakeTrainer, dropout: float, n: int) -> None:
    straight = make_trainer("straight", dropout=dropout)
    assert straight.train()
    first = make_trainer("stopped", dropout=dropout)
    for _ in range(n):
        first.update()
    first.save()
    first.update()  # steps after the checkpoint are lost, as after a kill
    resumed = make_trainer("stopped", dropout=dropout)
    resumed.resume(newest_checkpoint(resumed.out))
    assert resumed.step == n
    assert resumed.train()
    assert_equal_state(straight, resumed)
    assert resumed.val_loss == straight.val_loss


def test_without_the_random_stream_dropout_would_differ(make_trainer: MakeTrainer) -> None:
    """The test above would notice a stream that is not restored."""
    runs = [make_trainer(f"run{i}", dropout=0.2) for i in range(2)]
    runs[1].stream.calls += 1
    for run in runs:
        run.update()
    assert not np.array_equal(runs[0].model.flat.data, runs[1].model.flat.data)


def test_metrics_are_cut_back_to_the_checkpoint(make_trainer: MakeTrainer) -> None:
    straight = make_trainer("straight")
    straight.train()
    file = straight.out / metrics.METRICS_FILE
    whole = metrics.read(file)
    assert [line["step"] for line in whole] == list(range(1, 9))
    assert [line["step"] for line in whole if line["val_loss"] is not None] == [4, 8]
    with file.open("a") as cut_short:  # a kill in the middle of a line
        cut_short.write('{"step": 9, "tra')
    checkpoints = sorted((straight.out / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step-0000006", "step-0000008"]
    for path in checkpoints[1].iterdir():
        path.unlink()
    checkpoints[1].rmdir()
    resumed = make_trainer("straight")
    resumed.resume(newest_checkpoint(resumed.out))
    assert [line["step"] for line in metrics.read(file)] == list(range(1, 7))
    resumed.train()
    for again, before in zip(metrics.read(file), whole, strict=True):
        for name in ("step", "train_loss", "val_loss", "lr", "grad_norm"):
            assert again[name] == before[name]


def test_a_leftover_temporary_folder_is_ignored_and_removed(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.save()
    leftover = trainer.out / "checkpoints" / "step-0000002.tmp"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(trainer.out).folder.name == "step-0000000"
    assert not leftover.exists()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_checkpoint_is_named_with_the_one_before(make_trainer: MakeTrainer, file: str, damage: str) -> None:
    trainer = make_trainer()
    trainer.train()
    path = trainer.out / "checkpoints" / "step-0000008" / file
    path.write_bytes(path.read_bytes()[:-7]) if damage == "cut" else path.unlink()
    with pytest.raises(UserError, match=r"step-0000008'.*damaged.*step-0000006"):
        newest_checkpoint(trainer.out)


def test_a_leftover_temporary_folder_is_written_anew(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    leftover = trainer.out / "checkpoints" / "step-0000000.tmp"
    leftover.mkdir(parents=True)
    (leftover / "rubbish").touch()
    folder = trainer.save()
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "model.safetensors", "optimizer.safetensors"}


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        newest_checkpoint(tmp_path)


TEXT = "She sells sea shells by the sea shore.\n" * 60
RUN = "--preset nano --steps 30 --batch-size 2 --checkpoint-every 4 --eval-every 30 --log-every 1 --threads 1"


def command(tmp_path: Path, *arguments: str) -> list[str]:
    (tmp_path / "text.txt").write_text(TEXT)
    return [*RUN.split(), "--data", str(tmp_path / "text.txt"), *arguments]


@pytest.mark.parametrize("victim", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.rename"])
def test_a_kill_during_a_checkpoint_leaves_the_one_before(tmp_path: Path, victim: str) -> None:
    """The process dies, with no clean-up, at the first fsync or rename of the third checkpoint, or in its last one."""
    script = textwrap.dedent(f"""
        import os, pathlib, sys
        from minillm.cli.main import main
        real = {victim}
        def deadly(*args, **kwargs):
            if any("step-0000008" in path.name for path in pathlib.Path(sys.argv[1]).glob("checkpoints/*.tmp")):
                os._exit(9)
            return real(*args, **kwargs)
        {victim} = deadly
        main(["train", *sys.argv[2:]])
    """)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    arguments = command(tmp_path, "--out", str(killed), "--dropout", "0.1")
    died = subprocess.run([sys.executable, "-c", script, str(killed), *arguments], capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    names = sorted(path.name for path in (killed / "checkpoints").iterdir())
    assert names == ["step-0000000", "step-0000004", "step-0000008.tmp"]
    run(["train", "--out", str(killed), "--resume", "--threads", "1"])
    run(["train", *command(tmp_path, "--out", str(straight), "--dropout", "0.1")])
    models = [read_tensors(out / "model.safetensors")[0] for out in (killed, straight)]
    for name in models[0]:
        np.testing.assert_array_equal(models[0][name], models[1][name], err_msg=name)
    assert not list((killed / "checkpoints").glob("*.tmp"))


def run(arguments: list[str]) -> None:
    from minillm.cli.main import main

    assert main(arguments) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "stopped run"
    arguments = ["train", *command(tmp_path, "--out", str(out)), "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minillm", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "parameters" not in process.stdout.readline():
        assert process.poll() is None
    while not (out / "metrics.jsonl").exists():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"minillm train --out '{out}' --resume" in errors
    step = newest_checkpoint(out).manifest["step"]
    assert f"stopped at step {step}," in errors
    assert metrics.read(out / "metrics.jsonl")[-1]["step"] == step > 0  # nothing was lost
