"""The loop: micro-batches, evaluation, and what happens when numbers are not finite."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import GPT, GPTConfig, UserError
from minillm.train import TrainConfig, loop
from minillm.train.loop import accumulate_gradients, evaluate
from minillm.train.nonfinite import find_origin
from tests.minillm.train.conftest import MakeTrainer

CONFIG = GPTConfig(vocab_size=9, context_length=6, n_layer=1, n_head=2, d_model=8, dtype="float64")


@given(
    lengths=st.lists(st.integers(0, 6), min_size=2, max_size=6).filter(any),
    cuts=st.lists(st.integers(1, 5), max_size=3),
)
def test_micro_batches_give_the_gradient_of_the_whole(lengths: list[int], cuts: list[int]) -> None:
    rng, n = np.random.default_rng(len(lengths)), len(lengths)
    ids, targets = rng.integers(9, size=(2, n, 6))  # each (n, T)
    targets[np.arange(6) >= np.array(lengths)[:, None]] = -1  # ragged: row i has lengths[i] targets
    model = GPT(CONFIG)
    _, loss = model(ids, targets)
    loss.backward()
    whole = model.flat.grad.copy()
    model.zero_grad()
    edges = sorted({0, *(cut for cut in cuts if cut < n), n})
    parts = [(ids[a:b], targets[a:b]) for a, b in itertools.pairwise(edges)]
    mean = accumulate_gradients(model, parts)
    np.testing.assert_allclose(model.flat.grad, whole, rtol=1e-10, atol=1e-14)
    assert float(mean) == pytest.approx(loss.item(), rel=1e-12)


def test_grad_accum_equals_a_larger_batch(make_trainer: MakeTrainer) -> None:
    large, accumulated = make_trainer("a", batch_size=6), make_trainer("b", batch_size=2, grad_accum=3)
    for _ in range(4):
        np.testing.assert_allclose(large.update(), accumulated.update(), rtol=1e-5)
    np.testing.assert_allclose(large.model.flat.data, accumulated.model.flat.data, atol=2e-5)


@pytest.mark.parametrize("n", [2, 7, 13, 50])
def test_evaluation_is_the_mean_over_every_token(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVAL_TOKENS", 12)  # two windows a batch, so that the last one is smaller
    model, tokens = GPT(replace(CONFIG, dropout=0.5)), np.random.default_rng(0).integers(9, size=n)
    model.train()
    got = evaluate(model, tokens)
    assert all(module.training for _, module in model.named_modules())
    model.eval()
    nll = []
    for start in range(0, n - 1, 6):  # one window at a time, token by token
        window = tokens[start : start + 7]
        logits = model(window[None, :-1])[0].numpy()[0]  # (T, V)
        nll += [np.log(np.exp(row).sum()) - row[t] for row, t in zip(logits, window[1:], strict=True)]
    assert len(nll) == n - 1
    assert got == pytest.approx(np.mean(nll), rel=1e-12)


def test_training_learns(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(steps=100, lr=2e-2, eval_every=100, checkpoint_every=100)
    assert trainer.train()
    p = np.bincount(trainer.val_tokens) / len(trainer.val_tokens)
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()  # the best that a model without context can do
    assert trainer.val_loss is not None
    assert trainer.val_loss < entropy - 0.2


@pytest.mark.parametrize("path", ["blocks.1.mlp.fc.weight", "blocks.0.ln2.bias"])
def test_a_non_finite_loss_names_what_it_comes_from_and_keeps_the_batch(make_trainer: MakeTrainer, path: str) -> None:
    trainer = make_trainer(dropout=0.1)
    trainer.update()
    trainer.save()
    dict(trainer.model.named_parameters())[path].data.flat[3] = np.inf
    before = trainer.model.flat.data.copy()
    saved = make_trainer().loader
    saved.load_state_dict(trainer.loader.state_dict())
    said = rf"step 2 .*: the parameter {re.escape(path)} came in with inf at .*; .*nonfinite-step-2\.npz"
    with pytest.raises(UserError, match=said):
        trainer.update()
    np.testing.assert_array_equal(trainer.model.flat.data, before)
    with np.load(trainer.out / "nonfinite-step-2.npz", allow_pickle=False) as file:
        ids, targets = next(saved)
        np.testing.assert_array_equal(file["ids"], ids[None])
        np.testing.assert_array_equal(file["targets"], targets[None])


def test_of_scores_that_overflow_the_line_is_told(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    dict(trainer.model.named_parameters())["blocks.0.attn.qkv.weight"].data *= 1e30
    origin = find_origin(trainer.model, [next(trainer.loader)], trainer.stream)
    assert origin.startswith("attention in blocks.0.attn gave nan at [")
    assert origin.endswith(", since 'scores = (q * (1 / D**0.5)) @ k.swapaxes(-1, -2)' gave inf")


def test_a_gradient_that_is_not_finite_is_named(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    dict(trainer.model.named_parameters())["blocks.0.attn.proj.weight"].grad[1, 2] = np.nan
    assert find_origin(trainer.model, [next(trainer.loader)], trainer.stream) == (
        "first the gradient of blocks.0.attn.proj.weight"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"grad_accum": 0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"beta2": 1.0},
        {"clip": 0.0},
        {"val_fraction": 1.0},
        {"decay": "none"},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_a_full_disk_is_a_user_error(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    trainer.save()
    trainer.update()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        trainer.save()
    assert [path.name for path in Path(trainer.out, "checkpoints").iterdir()] == ["step-0000000"]
