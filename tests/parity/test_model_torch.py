"""Gradients of the whole model against PyTorch's, parameter by parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from autograd import use_backend
from minillm import GPT, GPTConfig
from minillm.optim import AdamW, clip_scale, global_norm

torch = pytest.importorskip("torch", reason="the parity tests compare with PyTorch: pip install torch")

from torch_gpt import gradients, torch_copy  # noqa: E402  # needs torch

GRADIENT_TOLERANCE = {"float64": 1e-10, "float32": 1e-5}

# each differs from BASE in what its name says: B, T, configuration
BASE = {"vocab_size": 29, "context_length": 11, "n_layer": 2, "n_head": 3, "d_model": 12}
CASES = {
    "base": (4, 11, {}),
    "one token": (3, 1, {}),
    "one row": (1, 7, {}),
    "one head": (2, 9, {"n_head": 1}),
    "odd widths": (3, 5, {"d_model": 15, "n_head": 5, "d_ff": 7, "vocab_size": 13}),
    "one layer": (2, 6, {"n_layer": 1}),
    "four layers": (2, 6, {"n_layer": 4}),
    "untied": (3, 8, {"tie_embeddings": False}),
    "no bias": (3, 8, {"bias": False}),
    "untied, no bias": (2, 8, {"tie_embeddings": False, "bias": False}),
    "relu": (3, 8, {"activation": "relu"}),
    "exact gelu": (3, 8, {"activation": "gelu"}),
    "epsilon": (3, 8, {"layer_norm_eps": 1e-3}),
}


def make_model(overrides: dict, dtype: str = "float64", seed: int = 1) -> GPT:
    """A model whose biases and norms are not at their zeros and ones, so that a mistake in them shows."""
    model = GPT(GPTConfig(**{**BASE, **overrides, "dtype": dtype}), seed=seed)
    rng = np.random.default_rng(seed)
    model.flat.data += 0.1 * rng.standard_normal(model.flat.data.shape).astype(dtype)
    return model


def batch(model: GPT, B: int, T: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, model.config.vocab_size, (2, B, T)))


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def assert_same_gradients(model: GPT, ids, targets, *, mask=None, weights=None) -> None:
    """Logits, loss and every parameter's gradient equal those of PyTorch on the same numbers."""
    twin = torch_copy(model)
    logits, _ = model(ids, mask=mask)
    loss = model.loss(ids, targets, mask=mask, weights=weights)
    loss.backward()
    as_torch = [None if a is None else torch.tensor(a) for a in (ids, targets, mask, weights)]
    their_logits, their_loss = twin(*as_torch)
    their_loss.backward()

    tolerance = GRADIENT_TOLERANCE[model.config.dtype]
    assert relative_error(logits.numpy(), their_logits.detach().numpy()) < tolerance
    assert abs(loss.item() - their_loss.item()) < tolerance * their_loss.item()
    theirs = gradients(twin)
    assert set(theirs) == {name for name, _ in model.named_parameters()}
    errors = {name: relative_error(p.grad, theirs[name].numpy()) for name, p in model.named_parameters()}
    assert max(errors.values()) < tolerance, sorted(errors.items(), key=lambda item: -item[1])[:3]


@pytest.fixture(params=["float64", "float32", "float32 compiled"])
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """The dtype, and the backend that runs it: numba's kernels are of float32."""
    name, _, compiled = request.param.partition(" ")
    if compiled:
        pytest.importorskip("numba")
    with use_backend("numba" if compiled else "numpy"):
        yield name


@pytest.mark.parametrize("case", CASES)
def test_gradients(case, dtype):
    B, T, overrides = CASES[case]
    model = make_model(overrides, dtype)
    assert_same_gradients(model, *batch(model, B, T))


def test_gradients_with_targets_left_out_and_weighted(dtype):
    model = make_model({}, dtype)
    ids, targets = batch(model, 4, 9)
    rng = np.random.default_rng(3)
    targets[rng.random(targets.shape) < 0.4] = -1
    targets[1] = -1
    assert_same_gradients(model, ids, targets)
    model.zero_grad()
    assert_same_gradients(model, ids, targets, weights=rng.random(targets.shape).astype(dtype))


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_with_padding(side, dtype):
    model = make_model({}, dtype)
    ids, targets = batch(model, 4, 8)
    real = np.arange(8) < np.array([[8], [5], [1], [6]])  # (B, T), rows of 8, 5, 1 and 6 tokens
    if side == "left":  # then the first queries of a row see no key at all
        real = np.ascontiguousarray(real[:, ::-1])
    targets[~real] = -1
    assert_same_gradients(model, ids, targets, mask=real)


def test_two_backwards_add_up_as_in_torch():
    model = make_model({})
    twin = torch_copy(model)
    for seed in range(2):
        ids, targets = batch(model, 2, 6, seed)
        model(ids, targets)[1].backward()
        twin(torch.from_numpy(ids), torch.from_numpy(targets))[1].backward()
    theirs = gradients(twin)
    assert all(relative_error(p.grad, theirs[name].numpy()) < 1e-10 for name, p in model.named_parameters())


@pytest.mark.parametrize("decay", ["linear", "matrices"])
@pytest.mark.parametrize("tied", [True, False])
def test_twenty_steps_of_adamw(tied, decay):
    """Clipping at 1.0, groups with and without decay, another batch at each step: losses and weights follow."""
    model = make_model({"tie_embeddings": tied})
    twin = torch_copy(model)
    optimizer = AdamW(model, lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, decay=decay)

    def decays(name: str, p: torch.nn.Parameter) -> bool:
        return p.ndim >= 2 and (decay == "matrices" or "embedding" not in name)

    named = list(twin.named_parameters())
    groups = [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": 0.1},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]
    their_optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
    start, n_clipped = model.flat.data.copy(), 0
    for seed in range(20):
        ids, targets = batch(model, 3, 8, seed)
        model.zero_grad()
        _, loss = model(ids, targets)
        loss.backward()
        scale = clip_scale(float(global_norm(optimizer.grads())), 1.0)
        n_clipped += scale < 1
        optimizer.step(scale)

        their_optimizer.zero_grad()
        _, their_loss = twin(torch.from_numpy(ids), torch.from_numpy(targets))
        their_loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        their_optimizer.step()
        assert abs(loss.item() - their_loss.item()) < 1e-6
    assert n_clipped > 0
    assert relative_error(start, model.flat.data) > 0.1  # they went somewhere
    for name, p in twin.named_parameters():
        assert relative_error(dict(model.named_parameters())[name].data, p.detach().numpy()) < 1e-6, name
