"""`minillm debug`: what it opens or writes, and what it says where it cannot."""

from __future__ import annotations

import builtins
import errno
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from limits import HANGS

from minillm.cli.debug import has_terminal
from minillm.cli.main import main
from minillm.debug import Session, page


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there was one."""
    monkeypatch.setattr("minillm.cli.debug.has_terminal", lambda: True)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Session, list[str]]]:
    """(session, --break-on) of each stepper that was opened, in place of opening it."""
    terminal = pytest.importorskip("minillm.debug.terminal", exc_type=ModuleNotFoundError)
    calls: list[tuple[Session, list[str]]] = []

    class Stepper(terminal.app.Stepper):  # type: ignore[misc, name-defined]
        def __init__(self, session: Session, break_on: Any = ()) -> None:
            super().__init__(session, break_on)
            calls.append((session, list(break_on)))

        def run(self, *_: Any, **__: Any) -> None:
            return None

    monkeypatch.setattr(terminal, "Stepper", Stepper)
    return calls


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("all happy families are alike\n" * 3)
    return str(path)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a user's mistake."""
    assert main(["debug", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minillm: error: ")
    assert error.count("\n") == 1
    return error


def test_it_opens_a_small_new_model_on_a_piece_of_text(
    terminal: None, opened: list[tuple[Session, list[str]]], text: str
) -> None:
    arguments = ["debug", "--data", text, "--n-layer", "1", "--d-model", "16", "--context-length", "8", "--seed", "3"]
    assert main([*arguments, "--break-on", "attention", "--break-on", "blocks.0"]) == 0
    ((session, break_on),) = opened
    config = session.model.config
    assert (config.n_layer, config.d_model, config.d_ff, config.context_length) == (1, 16, 64, 8)
    assert break_on == ["attention", "blocks.0"]
    assert "".join(session.tokens) in "all␣happy␣families␣are␣alike⏎" * 3


def test_what_called_the_command_is_not_the_user_s_line(
    terminal: None, opened: list[tuple[Session, list[str]]], text: str
) -> None:
    assert main(["debug", "--data", text]) == 0
    session, _ = opened[0]
    assert {node.origin.user_line for node in session.nodes} == {None}
    assert all(node.origin.caller_line for node in session.nodes)


def test_it_opens_a_trained_model_on_a_prompt(
    terminal: None, opened: list[tuple[Session, list[str]]], saved_model: Path
) -> None:
    assert main(["debug", str(saved_model), "--prompt", "cab a"]) == 0
    ((session, _),) = opened
    assert session.tokens == ["c", "a", "b", "␣"]
    assert session.targets.shape == (1, 4)


def test_html_writes_a_page_without_a_terminal_and_replaces_an_earlier_one(
    tmp_path: Path, text: str, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    path.write_text("an earlier one")
    assert (
        main(["debug", "--html", str(path), "--data", text, "--n-layer", "1", "--d-model", "8", "--n-head", "1"]) == 0
    )
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert "blocks.0.attn" in path.read_text("utf-8")
    assert main(["debug", str(saved_model), "--prompt", "abc", "--html", str(path)]) == 0
    assert "GPT of 1 layer, 2 heads, width 8" in path.read_text("utf-8")


def test_a_page_that_cannot_be_written_is_a_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--data", text, "--n-layer", "1", "--d-model", "8", "--n-head", "1", "--html"]
    assert "cannot write" in error_of(capsys, *small, tmp_path / "nowhere" / "report.html")
    assert "Is a directory" in error_of(capsys, *small, tmp_path)


@pytest.mark.parametrize("error", [MemoryError("74.5 GiB"), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_a_model_too_large_for_the_memory_is_a_line(
    error: Exception, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_large(*_: object) -> None:
        raise error

    monkeypatch.setattr("minillm.debug.session.GPT", too_large)
    path = tmp_path / "report.html"
    assert "not enough memory" in error_of(capsys, "--data", text, "--html", path)
    assert not path.exists()


def test_without_a_terminal_it_names_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("textual")
    assert "that can move the cursor, and input or output is none: give --html FILE" in error_of(capsys)


def test_a_terminal_that_cannot_move_the_cursor_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    for term, expected in (("xterm-256color", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        assert has_terminal() is expected


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals on this system")
@pytest.mark.parametrize("leave", [b"q", b"\x03"])
def test_in_a_terminal_it_steps_and_leaves_the_terminal_as_it_was(text: str, leave: bytes) -> None:
    import fcntl
    import struct
    import termios

    pytest.importorskip("textual")
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(its)
    command = [sys.executable, "-m", "minillm", "debug", "--data", text, "--n-layer", "1"]
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # the terminal's own
    env["TERM"] = "xterm-256color"
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env)
    try:
        assert "step 1 of 16" in read_until(ours, "step 1 of 16")
        os.write(ours, b"n")
        assert "step 2 of 16" in read_until(ours, "step 2 of 16")
        os.write(ours, leave)
        assert "\x1b[?1049l" in read_until(ours, "\x1b[?1049l")  # the screen that was there before
        assert process.wait(HANGS) == 0
        assert termios.tcgetattr(its) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


def read_until(terminal: int, text: str) -> str:
    """What the screen was sent, up to this text."""
    shown, end = "", time.monotonic() + HANGS
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 1 << 16).decode(errors="replace")
    return shown


def test_without_textual_it_says_what_to_install(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = builtins.__import__

    def blocked(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "textual":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return found(name, *rest)

    for name in [name for name in sys.modules if name.startswith("minillm.debug.terminal")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("minillm.debug.terminal", raising=False)
    monkeypatch.setattr(builtins, "__import__", blocked)
    assert "the package textual, which is not installed: pip install 'minillm[debug]', or give --html" in error_of(
        capsys
    )


def test_the_page_needs_no_textual(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setattr(page, "write_page", lambda session, path: path.write_text(session.title))
    assert main(["debug", "--html", str(tmp_path / "report.html"), "--data", text]) == 0
    assert (tmp_path / "report.html").read_text().startswith("GPT of 2 layers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--prompt", "abc"], "nowhere"),
        (["{run}", "--prompt", "a"], "the prompt has 1 token: give 2 to 9"),
        (["{run}", "--prompt", ""], "the prompt has 0 tokens: give 2 to 9"),
        (["{run}", "--prompt", "abcabcabca"], "the prompt has 10 tokens: give 2 to 9"),
        (["{run}", "--prompt", "xyz"], "'x'"),
        (["{run}"], "was given without a text: give --prompt TEXT"),
        (["--prompt", "abc"], "--prompt was given without a model: give a run folder too"),
        (["{run}", "--prompt", "abc", "--n-layer", "1"], "--n-layer is for a new model: leave it out"),
        (["{run}", "--prompt", "abc", "--seed", "0"], "--seed is for a new model: leave it out"),
        (["--data", "nowhere.txt"], "nowhere.txt"),
        (["--n-head", "5"], "n_head 5 does not divide d_model 32"),
        (["--n-layer", "0"], "n_layer is 0"),
        (["--html", ""], "cannot write '.': it is a folder; give the name of a file"),
        (["--seed", "-1"], "seed is -1: give a whole number of at least 0"),
        (
            ["--break-on", "atention"],
            "--break-on: there is no op or layer 'atention' on this tape: did you mean 'atten",
        ),
        (["--break-on", "attention", "--html", "x.html"], "--break-on is for the stepper: leave it out"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    terminal: None,
    opened: list[tuple[Session, list[str]]],
    saved_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in error_of(capsys, *(argument.format(run=saved_model) for argument in arguments))
    assert opened == []
