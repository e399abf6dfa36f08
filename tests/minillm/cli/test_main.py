"""The frame of the command line: exit codes, and no traceback for a mistake of the user's."""

import argparse
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import HANGS

import minillm
from autograd import BackendError
from minillm.cli import main as frame
from minillm.cli.main import COMMANDS, main

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").stdout == f"minillm {minillm.__version__}\n"
    result = cli("--help")
    assert result.returncode == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"minillm {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, minillm.cli.main as m; m.build_parser(); print([n for n in {HEAVY} if n in sys.modules])"
    heavy = ("numba", "cupy", "matplotlib", "torch")
    result = subprocess.run(
        [sys.executable, "-c", code.format(HEAVY=heavy)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "no-such-run"], "minillm: error: there is no model at 'no-such-run'"),
        (["generate", "{run}", "--temperature", "-1"], "minillm: error: temperature is -1.0: give 0"),
        (["generate", "{run}", "--top-k", "0"], "minillm: error: top_k is 0: give"),
        (["generate", "{run}", "--top-p", "1.5"], "minillm: error: top_p is 1.5: give"),
        (["generate", "{run}", "--seed", "-1"], "minillm: error: seed is -1: give"),
        (["generate", "{run}", "--max-new-tokens", "-1"], "minillm: error: max_new_tokens is -1: give"),
        (["generate", "{run}", "--stop", ""], "minillm: error: the stop text is empty"),
        (["generate", "{run}", "--prompt", "abcX"], "minillm: error: character 'X' at position 3"),
        (["generate", "{run}", "--threads", "0"], "minillm: error: threads is 0: give"),
        (["generate", "{run}", "--backend", "tpu"], "minillm: error: unknown backend 'tpu': choose"),
        (["info", "gpt3"], "minillm: error: 'gpt3' is neither a preset nor a file"),
        (["info", "gpt2", "--batch-size", "0"], "minillm: error: batch-size is 0: give"),
        (["info", "{run}/broken.safetensors"], "minillm: error: "),
        (["doctor", "--backend", "tpu"], "minillm: error: unknown backend 'tpu': choose"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    arguments: list[str], message: str, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (saved_model / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    assert main([argument.format(run=saved_model) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


def test_a_mistake_leaves_no_traceback_in_a_process_of_its_own(cli: Cli, saved_model: Path) -> None:
    result = cli("generate", saved_model, "--top-p", "7")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("minillm: error: top_p is 7.0")
    assert "Traceback" not in result.stderr


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Make `minillm` run a function instead of a subcommand."""

    def install(run) -> None:
        parser = argparse.ArgumentParser()
        parser.set_defaults(run=run)
        monkeypatch.setattr(frame, "build_parser", lambda: parser)

    return install


def test_exit_codes(command, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        raise error

    for expected, run in [
        (0, lambda _: 0),
        (1, lambda _: 1),
        (130, lambda _: fail(KeyboardInterrupt())),
        (2, lambda _: fail(BackendError("no such thing"))),
    ]:
        command(run)
        assert main([]) == expected
    assert capsys.readouterr().err == "minillm: error: no such thing\n"


def test_an_error_of_ours_keeps_its_traceback(command) -> None:
    def run(_: argparse.Namespace) -> int:
        raise ValueError("a bug")

    command(run)
    with pytest.raises(ValueError, match="a bug"):
        main([])


def test_warnings_are_one_line_too(command, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: argparse.Namespace) -> int:
        warnings.simplefilter("default")
        warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)
        return 0

    command(run)
    assert main([]) == 0
    assert capsys.readouterr().err == "minillm: warning: mind the gap\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes that close are POSIX's")
def test_a_closed_pipe_ends_quietly(saved_model: Path) -> None:
    arguments = [sys.executable, "-m", "minillm", "generate", saved_model, "--max-new-tokens", "100000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3)
        process.stdout.close()
        assert process.wait(timeout=HANGS) == 141
        assert process.stderr.read() == b""
