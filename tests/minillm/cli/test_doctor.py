"""`minillm doctor` passes here, and fails on a model that is broken."""

import numpy as np
import pytest

from autograd import use_backend
from minillm import GPT
from minillm.cli import doctor
from minillm.cli.main import main


@pytest.fixture
def batch() -> doctor.Batch:
    ids = np.random.default_rng(1).integers(doctor.CONFIG.vocab_size, size=(4, doctor.CONFIG.context_length + 1))
    return ids[:, :-1], ids[:, 1:]


def test_passes_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.count("PASS") == 3
    assert "FAIL" not in out
    for fact in ("python ", "BLAS ", "cores ", f"backend  numpy {np.__version__}", "backend  cupy"):
        assert fact in out


def test_one_failed_check_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "OVERFIT_STEPS", 1)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert (out.count("PASS"), out.count("FAIL")) == (2, 1)


def test_a_badly_initialised_model_fails_the_initial_loss(batch: doctor.Batch) -> None:
    model = GPT(doctor.CONFIG)
    assert doctor.check_initial_loss(model, batch)[0]
    model.token_embedding.weight.data *= 20
    assert not doctor.check_initial_loss(model, batch)[0]


def test_a_wrong_gradient_is_found_and_named(batch: doctor.Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    from minillm.layers import layernorm

    def without_the_path_through_rstd(dy, x, mean, rstd, weight, bias):
        xhat = (x - mean) * rstd
        dxhat = dy * weight
        return rstd * (dxhat - dxhat.mean(-1, keepdims=True)), (dy * xhat).sum((0, 1)), dy.sum((0, 1))

    model = GPT(doctor.CONFIG)
    before = model.flat.data.copy()
    assert doctor.check_gradients(model, batch)[0]
    np.testing.assert_array_equal(model.flat.data, before)
    monkeypatch.setattr(layernorm.layernorm.backward, "reference", without_the_path_through_rstd)
    passed, fact = doctor.check_gradients(model, batch)
    assert not passed
    assert "worst in" in fact
    assert fact.endswith("op at fault: layernorm")


def test_a_loss_that_is_no_number_is_said(batch: doctor.Batch) -> None:
    model = GPT(doctor.CONFIG)
    model.ln_f.weight.data[0] = np.nan
    passed, fact = doctor.check_gradients(model, batch)
    assert not passed
    assert fact.startswith("gradients cannot be checked: GPT returned numbers that are not finite")


def test_gradients_are_checked_on_a_gpu_too(batch: doctor.Batch, strict_cupy: object) -> None:
    with use_backend("cupy"):
        model = GPT(doctor.CONFIG)
        assert doctor.check_gradients(model, batch)[0]
        assert type(model.flat.data).__module__ == "cupy"


def test_a_model_that_cannot_learn_fails_to_overfit(batch: doctor.Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minillm.optim.AdamW.step", lambda self: None)
    passed, fact = doctor.check_overfits(GPT(doctor.CONFIG), batch)
    assert not passed
    assert f"after {doctor.OVERFIT_STEPS} steps" in fact
