"""`minillm generate`: text and nothing else on standard output."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from minillm.cli.main import main
from minillm.generate import generate_text
from minillm.weights import load_model

Cli = Callable[..., CompletedProcess[str]]


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["generate", *map(str, arguments)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_only_text_on_stdout_the_prompt_first_and_a_newline_last(cli: Cli, saved_model: Path) -> None:
    result = cli("generate", saved_model, "--prompt", "abc", "--max-new-tokens", 30, "--seed", 5)
    assert (result.returncode, result.stderr) == (0, "")
    model, tokenizer = load_model(saved_model)
    expected = "".join(generate_text(model, tokenizer, "abc", 30, seed=5))
    assert result.stdout == f"abc{expected}\n"
    assert len(expected) == 30


def test_the_seed_decides(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved_model / "model.safetensors"
    assert output(capsys, saved_model, "--seed", 1) == output(capsys, file, "--seed", 1)
    assert output(capsys, saved_model, "--seed", 1) != output(capsys, file, "--seed", 2)


def test_options_reach_the_sampler(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    greedy = output(capsys, saved_model, "--temperature", 0)
    assert output(capsys, saved_model, "--top-k", 1, "--seed", 3) == greedy
    assert output(capsys, saved_model, "--top-p", 1e-9, "--seed", 4) == greedy
    assert output(capsys, saved_model, "--threads", 1, "--temperature", 0) == greedy


def test_the_stop_text_ends_it(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = output(capsys, saved_model, "--max-new-tokens", 50)
    stop = whole[20:23]
    assert output(capsys, saved_model, "--max-new-tokens", 50, "--stop", stop) == whole.partition(stop)[0] + "\n"


def test_a_terminal_without_utf8_gets_question_marks(cli: Cli, tmp_path: Path) -> None:
    from minillm import GPT, GPTConfig
    from minillm.tokenizer import CharTokenizer
    from minillm.weights import save_model

    path = tmp_path / "greek.safetensors"
    save_model(
        path, GPT(GPTConfig(vocab_size=2, context_length=4, n_layer=1, n_head=1, d_model=4)), CharTokenizer("αβ")
    )
    result = cli("generate", path, "--prompt", "αβ", "--max-new-tokens", 1, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout, result.stderr) == (0, "???\n", "")
