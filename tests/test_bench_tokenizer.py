"""`make bench-tokenizer`: that all runs, what it refuses to time, and that its figures are the README's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autograd import jit
from benchmarks.tokenizer import __main__ as bench
from benchmarks.tokenizer import fuzz, learning, peers, report, texts
from benchmarks.tokenizer.turns import Contestant, Disagreement, take_turns
from minillm.tokenizer import BPETokenizer

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
FILES = texts.stdlib_files(quick=True)[:2]

needs_gpt2 = pytest.mark.skipif(
    not (texts.DATA / "gpt2").exists(), reason="needs ../shared/data/gpt2 beside the repository"
)
needs_machine_code = pytest.mark.skipif(not jit.ENABLED, reason="AUTOGRAD_JIT=0: minutes in Python loops")


@pytest.fixture(autouse=True)
def environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in peers.ONE_THREAD.items():
        monkeypatch.setenv(name, value)


@needs_gpt2
@needs_machine_code
@pytest.mark.parametrize("with_peers", [True, False])
def test_all_runs_with_the_peers_that_are_there(
    with_peers: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not with_peers:
        monkeypatch.setattr(peers, "installed", list)
    monkeypatch.setattr(bench, "RESULT", tmp_path / "result.json")
    assert bench.main(["--quick"]) == 0
    shown = capsys.readouterr().out
    for name in peers.PEERS:
        assert (f"{name} is left out: it is not installed" in shown) == (name not in peers.installed())
    for head in ("one thread | stdlib .py | pydoc topics", "two threads", "| a | - | space |", "learn from stdlib .py"):
        assert head in shown
    assert ("| speed / encode_to_numpy |" in shown) == ("tiktoken" in peers.installed())
    assert not list(tmp_path.iterdir())


def test_without_gpt2s_files_it_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--gpt2", str(tmp_path)])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.endswith("has no encoder.json and no vocab.bpe: give the folder of GPT-2's two files with --gpt2")


def test_other_ids_are_not_timed() -> None:
    same, other = Contestant(lambda _: [[1, 2], [3]]), Contestant(lambda _: [1, 2, 4])
    with pytest.raises(Disagreement, match="other does not give the ids of same on a text"):
        take_turns({"same": same, "other": other}, 1, of="a text", least_seconds=0)


def test_contestants_take_turns_and_prepare_each_call() -> None:
    calls: list[str] = []
    contestants = {
        name: Contestant(lambda made: calls.append(made) or [1], prepare=lambda name=name: name) for name in "abc"
    }
    times = take_turns(contestants, 2, of="a text", least_seconds=0)
    assert "".join(calls) == "abc" + "abc" + "bca"
    assert all(len(seconds.rounds) == 2 for seconds in times.values())


def test_other_merges_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    merges = BPETokenizer.train(map(texts.read, FILES), vocab_size=300, min_frequency=1).vocabulary.merges
    monkeypatch.setattr(peers, "installed", lambda: ["tokenizers"])
    monkeypatch.setattr(peers, "train_huggingface", lambda *_: None)
    monkeypatch.setattr(peers, "merges_of_huggingface", lambda _: merges)
    parts = [texts.read(path) for path in FILES]
    assert "seconds" in learning.learn(parts, FILES, 300, 1)[learning.HUGGING_FACE]
    monkeypatch.setattr(peers, "merges_of_huggingface", lambda _: [*merges[:-2], merges[-1], merges[-2]])
    with pytest.raises(Disagreement, match="HF tokenizers does not learn what minillm does at 300"):
        learning.learn(parts, FILES, 300, 1)


class OffByOne:
    """A peer of the given tokenizer that errs where a text has `bad`."""

    def __init__(self, right: BPETokenizer, bad: str) -> None:
        self.right, self.bad = right, bad

    def encode_ordinary(self, text: str) -> list[int]:
        return self.right.encode_reference(text).tolist() + [0] * (self.bad in text)

    def encode(self, text: str, **arguments: Any) -> list[int]:
        return self.right.encode(text, **arguments).tolist()


def test_fuzzing_finds_one_wrong_string() -> None:
    ours = BPETokenizer.train(map(texts.read, FILES), vocab_size=300)
    assert fuzz.disagreement(ours, OffByOne(ours, "no such string"), 50, 9999) is None
    for bad in ("'ll", chr(3 * 9999)):
        assert repr(bad)[1:-1] in str(fuzz.disagreement(ours, OffByOne(ours, bad), 300, 9999))
    assert sum(1 for _ in fuzz.strings(50, 9999)) == fuzz.count(50, 9999)


def test_made_up_text_is_the_same_again_and_has_no_surrogates() -> None:
    text = texts.adversarial(10_000)
    assert text == texts.adversarial(10_000)
    assert 10_000 <= len(text.encode()) < 15_000


@pytest.mark.skipif(not bench.RESULT.exists(), reason="nothing was measured")
def test_the_readme_has_the_figures_that_were_measured_last() -> None:
    result = json.loads(bench.RESULT.read_text("utf-8"))
    assert "\n".join(report.readme(result)) in README
    for name in ("tiktoken", "tokenizers", "rustbpe", "numba"):
        assert f"{name} {result['versions'][name]}" in README
