"""`minillm train`: flags, refusals, and what a run leaves behind."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from minillm import GPTConfig
from minillm.cli.main import build_parser, main
from minillm.data import list_files
from minillm.data.encode import encode_files
from minillm.generate import generate, generate_text
from minillm.tokenizer import BPETokenizer, ByteTokenizer
from minillm.tokenizer.files import load_tokenizer, save_tokenizer
from minillm.train import TrainConfig
from minillm.weights import load_model

SMALL = ["--preset", "nano", "--steps", "4", "--batch-size", "2", "--log-every", "2", "--threads", "1"]
SMALL += ["--backend", "numpy"]  # where nothing has to be compiled


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text("Around the rugged rocks the ragged rascal ran.\n" * 20)
    return str(tmp_path / "text.txt")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["train", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("minillm: error: ")
    return message


def test_a_run_leaves_model_metrics_and_curve(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", *SMALL, "--data", text, "--out", str(out), "--tokenizer", "char"]) == 0
    printed = capsys.readouterr().out
    for expected in ("sample:", str(out / "model.safetensors"), str(out / "loss.png")):
        assert expected in printed
    model, tokenizer = load_model(out)
    assert model.config.vocab_size == tokenizer.vocab_size == len(set(Path(text).read_text()))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["val_loss"] is None
    assert lines[0]["val_bits_per_byte"] is None
    shown = f"validation loss {lines[1]['val_loss']:.4f} nats per token, {lines[1]['val_bits_per_byte']:.4f} bits per"
    assert shown in printed
    assert lines[1]["val_bits_per_byte"] == pytest.approx(lines[1]["val_loss"] / math.log(2))  # one byte a character
    assert lines[0]["tokens_per_second"] > 0
    assert (out / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(tmp_path.rglob("*.tmp"))


def test_every_field_of_both_configurations_is_a_flag() -> None:
    for config in (GPTConfig, TrainConfig):
        for field in fields(config):
            value = {"activation": "relu", "dtype": "float64", "decay": "matrices"}.get(field.name, "3")
            flag = f"--{field.name.replace('_', '-')}"
            arguments = [f"--no-{flag[2:]}"] if field.name in ("bias", "tie_embeddings") else [flag, value]
            args = build_parser().parse_args(["train", *arguments])
            assert getattr(args, field.name) == (
                False if len(arguments) == 1 else type(getattr(args, field.name))(value)
            )
            assert getattr(build_parser().parse_args(["train"]), field.name) is None


def test_a_flag_overrides_the_recipe(text: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        "--preset",
        "shakespeare-char",
        "--n-layer",
        "1",
        "--d-model",
        "8",
        "--no-bias",
        "--lr",
        "0.5",
        "--steps",
        "1",
    ]
    assert main(["train", *arguments, "--data", text, "--out", str(out), "--threads", "1"]) == 0
    manifest = json.loads((out / "checkpoints" / "step-0000001" / "manifest.json").read_text())
    assert manifest["train_config"]["decay"] == "matrices"  # of the recipe, as the tokenizer
    assert manifest["tokenizer"]["name"] == "char"
    assert (manifest["train_config"]["lr"], manifest["config"]["n_layer"], manifest["config"]["bias"]) == (
        0.5,
        1,
        False,
    )


def test_another_run_is_not_touched_unless_told(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [*SMALL, "--data", text, "--out", str(tmp_path / "run")]
    assert main(["train", *run]) == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert "holds another run" in refused(capsys, *run, "--seed", "5")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert main(["train", *run, "--seed", "5", "--overwrite"]) == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert "give the one" in refused(capsys, *run, "--resume", "--overwrite")


def test_resuming_another_configuration_names_what_differs(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*SMALL, "--data", text, "--out", str(tmp_path / "run")]
    assert main(["train", *run]) == 0
    assert main(["train", *run, "--resume"]) == 0  # the same flags again, on a run that is done
    message = refused(capsys, "--out", str(tmp_path / "run"), "--resume", "--lr", "0.2", "--n-layer", "5")
    assert "lr is 0.2 and was 0.001" in message
    assert "n_layer is 5 and was 2" in message
    assert "no checkpoint" in refused(capsys, "--out", str(tmp_path / "nowhere"), "--resume")


def test_resuming_computes_as_the_run_did_or_says_that_bits_may_differ(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run"), "--threads", "1"]
    assert main(["train", *SMALL, "--data", text, "--backend", "numpy", *out]) == 0
    assert main(["train", *out, "--resume"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("backend numpy, 1 threads") == 2
    assert "last bits" not in shown.err
    pytest.importorskip("numba")
    assert main(["train", *out, "--resume", "--backend", "numba"]) == 0
    expected = "the last bits may differ from a run without a stop: backend was numpy and is numba\n"
    assert expected in capsys.readouterr().err


def test_a_run_that_does_not_say_what_computed_it_goes_on_with_numpy(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run"), "--threads", "1"]
    assert main(["train", *SMALL, "--data", text, "--backend", "numpy", *out]) == 0
    for path in (tmp_path / "run").glob("checkpoints/*/manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({key: manifest[key] for key in manifest if key not in ("backend", "threads")}))
    capsys.readouterr()
    assert main(["train", *out, "--resume"]) == 0
    shown = capsys.readouterr()
    assert "backend numpy, 1 threads" in shown.out
    assert "last bits" not in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--tokenizer", "word"], "unknown tokenizer 'word'"),
        (["--n-head", "3"], "n_head 3 does not divide d_model 16"),
        (["--context-length", "5000"], "needs at least 5001"),
        (["--val-fraction", "0.0005"], "the validation data has"),
        (["--vocab-size", "300"], "leave --vocab-size out"),
        (["--tokenizer", "bpe", "--vocab-size", "100"], "a vocabulary of 100 tokens is too small"),
        (["--tokenizer", "pyproject.toml"], "holds no tokenizer"),
        (["--steps", "0"], "steps is 0"),
        (["--threads", "0"], "threads is 0"),
        (["--data", "no/such/file"], "there is no file or folder"),
        (["--backend", "abacus"], "unknown backend"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, *SMALL, "--data", text, "--out", str(tmp_path / "run"), *arguments)
    assert not (tmp_path / "run").exists()


def options(tmp_path: Path, *data: object) -> list[str]:
    return [*SMALL, "--data", *map(str, data), "--out", str(tmp_path / "run")]


def test_a_bpe_is_trained_on_the_training_split(text: str, tmp_path: Path) -> None:
    Path(text).write_text(Path(text).read_text() + "zzzz" * 20)  # where the validation split is
    run = [*options(tmp_path, text), "--tokenizer", "bpe", "--vocab-size", "280"]
    assert main(["train", *run]) == 0
    model, tokenizer = load_model(tmp_path / "run")
    assert isinstance(tokenizer, BPETokenizer)
    assert model.config.vocab_size == tokenizer.vocab_size == 280
    assert not any(b"zz" in (token or b"") for token in tokenizer.vocabulary.tokens)
    assert load_tokenizer(tmp_path / "run" / "tokenizer.json").to_dict() == tokenizer.to_dict()
    ids = [np.load(tmp_path / "run" / "tokens" / f"{name}.npy") for name in ("train", "val")]
    assert "".join(tokenizer.decode(part) for part in ids) == Path(text).read_text()
    assert main(["train", *run, "--resume"]) == 0


@pytest.mark.filterwarnings("default")
def test_a_vocabulary_that_came_out_smaller_can_be_resumed(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*options(tmp_path, text), "--tokenizer", "bpe", "--vocab-size", "5000"]
    assert main(["train", *run]) == 0
    assert "the vocabulary has" in capsys.readouterr().err
    assert main(["train", *run, "--resume"]) == 0
    assert "vocab_size is 400 and was 5000" in refused(capsys, *run, "--resume", "--vocab-size", "400")
    assert "tokenizer is byte and was bpe" in refused(capsys, *run, "--resume", "--tokenizer", "byte")


def test_a_tokenizer_from_a_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = BPETokenizer.train("rugged rocks, ragged rascal", vocab_size=260, special_tokens=["<end>"])
    save_tokenizer(tokenizer, tmp_path / "t.json")
    Path(text).write_text(Path(text).read_text().replace("rocks", "<end>"))  # text like any other
    run = [*options(tmp_path, text), "--tokenizer", str(tmp_path / "t.json")]
    assert "leave --vocab-size out" in refused(capsys, *run, "--vocab-size", "300")
    assert main(["train", *run]) == 0
    model, used = load_model(tmp_path / "run")
    assert used.to_dict() == tokenizer.to_dict()
    assert 259 not in np.load(tmp_path / "run" / "tokens" / "train.npy")
    given = generate_text(model, used, "a<end>b", 3, temperature=0)
    expected = generate(model, [*used.encode("a"), 259, *used.encode("b")], 3, temperature=0)
    assert "".join(given) == used.decode(list(expected))


def test_a_token_folder_is_trained_on_where_it_is(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, tokenizer = tmp_path / "tokens", BPETokenizer.train(Path(text).read_text(), vocab_size=270)
    files = list_files([text])
    encode_files(files, tokenizer, tokens, end_of_text="")
    save_tokenizer(ByteTokenizer(), tmp_path / "byte.json")
    run = options(tmp_path, tokens)
    assert "made by another tokenizer" in refused(capsys, *run, "--tokenizer", str(tmp_path / "byte.json"))
    assert "made by another tokenizer" in refused(capsys, *run, "--tokenizer", "bpe")
    assert "mixes a token folder with others" in refused(capsys, *options(tmp_path, tokens, text))
    assert "is a token folder" in refused(capsys, *SMALL, "--data", text, "--out", str(tokens), "--overwrite")
    assert "leave --vocab-size out" in refused(capsys, *run, "--vocab-size", "400")
    assert not (tmp_path / "run").exists()
    assert main(["train", *run]) == 0
    assert not list((tmp_path / "run" / "tokens").iterdir())
    assert main(["train", *run, "--resume"]) == 0
    Path(text).write_text("Another text, of other words. " * 30)
    encode_files(files, tokenizer, tokens, end_of_text="")
    assert "are no longer those that the run" in refused(capsys, *run, "--resume")
