"""`make bench`: what it counts, and what it makes of its measurements. No time is measured here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as bench
from benchmarks import agree, peers
from benchmarks.gemms import Gemm, floor_seconds, step_gemms
from benchmarks.rounds import Measured, rotated
from benchmarks.table import FLOOR, lines, summary
from benchmarks.tasks import TASKS, Task
from benchmarks.worker import Work
from minillm import GPT, GPTConfig

TRAIN = [task for task in TASKS.values() if task.kind == "train"]
TINY = Task("tiny", "train", {"n_layer": 1, "n_head": 2, "d_model": 8, "context_length": 4, "vocab_size": 9}, 2, 2)
TINY_DECODE = Task("tiny", "decode", {**TINY.shape, "context_length": 32}, 5, 1)


@pytest.mark.parametrize("task", TRAIN, ids=lambda task: task.name)
def test_products_of_a_step_are_the_flops_that_the_model_counts(task: Task) -> None:
    matrices_only = GPTConfig(**task.shape, bias=False)  # biases and norms are in no product
    per_token = matrices_only.flops_per_token() - 6 * matrices_only.params_by_part()["norms"]
    assert sum(gemm.flops for gemm in step_gemms(task)) == task.size * task.shape["context_length"] * per_token


def test_the_floor_takes_each_product_at_its_best_and_attention_by_half() -> None:
    dense = Gemm("dense", 2, 3, 4, "", count=10)
    causal = Gemm("causal", 2, 3, 4, "", count=4, share=0.5)
    assert floor_seconds([dense, causal], [[3.0, 1.0], [2.0, 5.0]]) == 10 * 2.0 + 4 * 0.5 * 1.0


def measured(seconds: list[float], peak_mb: float = 100.0, **others: object) -> Measured:
    return Measured("some 1.0", 12.345, 1.5, 40.0, peak_mb, seconds, **others)  # type: ignore[arg-type]


def test_medians_and_ratios() -> None:
    seen = {
        "numpy": measured([0.030, 0.010, 0.020], peak_mb=50.0),
        "torch": measured([0.040, 0.040, 0.041]),
        "torch.compile": measured([0.010]),
        f"{FLOOR}numpy": measured([1.0], result=[0.0] * 21),
    }
    seen[f"{FLOOR}numpy"].result[0] = 0.005  # of the projection to queries, keys and values, once a layer
    result = summary(TINY, seen)
    row = result["rows"]["numpy"]
    assert (row["median_ms"], row["min_ms"], row["max_ms"]) == (20.0, 10.0, 30.0)
    assert row["speed / torch"] == pytest.approx(2.0)
    assert row["speed / torch.compile"] == pytest.approx(0.5)
    assert row["memory / torch"] == pytest.approx(0.5)
    assert row["peak_less_imports_mb"] == 10.0
    assert result["floor_ms"] == pytest.approx(5.0)
    assert result["floor_versions"] == ["some 1.0"]
    assert row["time / GEMM floor"] == pytest.approx(4.0)
    assert result["rows"].keys() == {"numpy", "torch", "torch.compile"}


def test_decoding_is_told_in_tokens_a_second() -> None:
    result = summary(TINY_DECODE, {"numpy": measured([0.5]), "transformers": measured([2.0])})
    assert result["rows"]["numpy"]["tokens_per_s"] == pytest.approx(10.0)  # 5 tokens
    assert result["rows"]["numpy"]["speed / transformers"] == pytest.approx(4.0)
    header, ours, _ = lines(TINY_DECODE, {"numpy": measured([0.5, 0.25, 1.0]), "transformers": measured([2.0])})
    assert header.split()[:4] == ["tokens/s", "min", "max", "/HF"]
    assert ours.split()[:4] == ["numpy", "10.0", "5.0", "20.0"]


@given(
    st.sets(st.sampled_from(["numpy", "numba", "torch", "torch.compile", FLOOR + "numpy"])),
    st.floats(1e-4, 90.0),
    st.floats(1.0, 99_999.0),
    st.booleans(),
)
def test_the_table_is_at_most_100_columns_whoever_is_there(
    names: set[str], seconds: float, peak_mb: float, started: bool
) -> None:
    seen = {name: measured([seconds], peak_mb, result=[seconds / 100] * 21) for name in names}
    for m in seen.values():
        m.cold = m.cold if started else None
    seen["not yet"] = Measured()  # interrupted before its first round
    table = lines(TINY, seen)
    assert max(map(len, table)) <= 100
    assert len(table) == 1 + len(names)
    if names - {FLOOR + "numpy"}:
        rows = [line for line in table if "GEMMs alone" not in line]
        assert len({len(line) for line in rows}) == 1
        assert len({len(line.split()) for line in rows[1:]}) == 1  # no two cells touch


@given(st.lists(st.integers(), min_size=1, unique=True), st.integers(0, 20))
def test_turns_are_rotated(names: list[int], n: int) -> None:
    assert sorted(rotated(names, n)) == sorted(names)  # type: ignore[arg-type]
    assert rotated(names, n)[0] == names[n % len(names)]  # type: ignore[arg-type]


def test_other_losses_are_named_and_nan_is_no_agreement() -> None:
    seen = {name: measured([1.0], warm_result=2.0) for name in ("numpy", "torch")}
    assert agree.disagreement(TINY, seen) is None
    for loss in (2.1, math.nan):
        seen["torch"].warm_result = loss
        assert agree.disagreement(TINY, seen) == f"numpy and torch have losses of 2 and {loss:g} after the same steps"


def test_other_tokens_are_named_unless_they_are_equally_likely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers.save_weights(TINY_DECODE, tmp_path)
    tokens = peers.our_stream("numpy", TINY_DECODE, 1, tmp_path).unit()
    other = [*tokens[:2], (tokens[2] + 1) % 9, *tokens[3:]]
    seen = {"numpy": measured([1.0], warm_result=tokens), "transformers": measured([1.0], warm_result=other)}
    assert agree.disagreement(TINY_DECODE, seen) == "numpy and transformers decode other tokens from token 2 of 5 on"
    monkeypatch.setattr(agree, "TIE", 2.0)  # so that any two logits are equal
    assert agree.disagreement(TINY_DECODE, seen) is None


def test_weights_are_those_of_the_model_and_training_starts_from_them(tmp_path: Path) -> None:
    peers.save_weights(TINY, tmp_path)
    np.testing.assert_array_equal(peers.our_model(TINY, tmp_path).flat.data, GPT(GPTConfig(**TINY.shape)).flat.data)
    step = peers.our_step("numpy", TINY, 1, tmp_path).unit
    assert step() > step()  # the second loss of one batch


def test_names_of_transformers_are_ours() -> None:
    inner = [
        "ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
        "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias",
    ]  # fmt: skip
    theirs = ["wte.weight", "wpe.weight", *(f"h.0.{name}" for name in inner), "ln_f.weight", "ln_f.bias"]
    ours = [peers.our_name(f"transformer.{name}") for name in theirs]
    assert ours == [name for name, _ in GPT(GPTConfig(**TINY.shape)).named_parameters()]


def prepare_counter(task: Task, threads: int, weights: Path) -> Work:
    calls: list[int] = []

    def unit() -> float:
        calls.append(threads)
        return float(len(calls))

    return Work(unit, "counter 1.0", 1.0)


def prepare_that_dies(task: Task, threads: int, weights: Path) -> Work:
    raise SystemExit(3)


def test_rounds_run_in_processes_of_their_own_and_all_is_counted() -> None:
    seen: dict[str, Measured] = {}
    done: list[str] = []
    bench.measure(
        TINY,
        1,
        {"a": (prepare_counter, 3), "b": (prepare_counter, 1)},
        2,
        cold="a",
        measured=seen,
        progress=done.append,
    )
    assert (seen["a"].warm_result, seen["a"].result) == (1 + 3, 1 + 3 * 3)  # one at the start, a warm-up, two rounds
    assert (seen["b"].warm_result, seen["b"].result) == (1 + 1, 1 + 3)
    assert [len(m.seconds) for m in seen.values()] == [2, 2]
    assert seen["a"].cold
    assert seen["a"].warm
    assert seen["b"].cold is seen["b"].warm is None
    assert min(m.peak_mb for m in seen.values()) > 1
    assert len(done) == 1 + 1 + 2 * (1 + 3)


def test_a_process_that_dies_is_one_sentence() -> None:
    with pytest.raises(RuntimeError, match=r"^a ended before it answered"):
        bench.measure(TINY, 1, {"a": (prepare_that_dies, 1)}, 1, cold="", measured={}, progress=lambda what: None)


def test_what_was_measured_before_an_interrupt_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object, measured: dict[str, Measured], **__: object) -> None:
        measured["numpy"] = Measured("numpy 2", None, None, 1.0, 2.0, [0.5, 0.7, 0.6])
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    assert bench.main(["--configs", "S", "M", "--threads", "1"]) == 1
    out, err = capsys.readouterr()
    assert "medians of 3 rounds" in out
    assert "600.0" in out
    assert err == "S, 1 threads: interrupted\n"
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_none_of_the_contestants_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--peers", "jax"])
    assert "invalid choice: 'jax' (choose from" in capsys.readouterr().err


def test_what_is_not_installed_is_left_out_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, missing = peers.available("decode")
    assert "transformers" not in found
    assert missing[-1] == "transformers is left out: it is not installed (pip install torch transformers)"
    assert bench.contestants(TINY, ["torch"])[0] == {}
