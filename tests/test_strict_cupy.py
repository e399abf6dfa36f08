"""Everything that has to run on a GPU, run on the strict stand-in, and what it costs in waits for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from cases import CASES, Case

from autograd import Stream, Tensor, backends, checkpoint, use_backend, use_stream
from autograd.gradcheck import gradcheck
from autograd.ops import reduce_max
from minillm import GPT, GPTConfig
from minillm.optim import AdamW, clip_scale, global_norm
from minillm.tokenizer import TOKENIZERS
from minillm.weights import load_model, save_model

CONFIG = GPTConfig(vocab_size=11, context_length=6, n_layer=2, n_head=2, d_model=8, dropout=0.1, dtype="float64")


def to_device(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(to_device(part) for part in x)
    return standin.ndarray(x.copy()) if isinstance(x, np.ndarray) else x


def test_it_refuses_what_cupy_refuses(strict_cupy: type[standin.Waits]) -> None:
    x = standin.ndarray(np.ones(3))
    for refused in (
        lambda: np.asarray(x),
        lambda: x + np.ones(3),
        lambda: np.ones(3) + x,
        lambda: np.where(x > 0, x, np.zeros(3)),
        lambda: x[np.array([0])],
        lambda: Tensor(x) * np.ones(3),
    ):
        with pytest.raises(TypeError):
            refused()
    if standin.cupy is not None:
        with pytest.raises(TypeError, match="cupy has no"):
            np.block([x])
        with pytest.raises(TypeError, match=r"cupy\.ones"):  # NumPy hands on a device=, which CuPy does not take
            np.ones(3, like=x)
    assert strict_cupy.count == 0
    assert x.sum().shape == ()
    assert float(x.sum()) == 3
    assert strict_cupy.count == 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_op_runs_and_equals_numpy(case: Case, strict_cupy: type[standin.Waits]) -> None:
    inputs = case.make()
    y, saved = case.run(inputs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(np.shape(y)))
    device_y, device_saved = case.run(
        [to_device(x) for x in inputs], **{name: to_device(a) for name, a in case.attributes.items()}
    )
    np.testing.assert_array_equal(device_y.values, y)
    for dx, device_dx in zip(case.backward(dy, saved), case.backward(to_device(dy), device_saved), strict=True):
        assert (dx is None) == (device_dx is None)
        if dx is not None:
            np.testing.assert_allclose(device_dx.values, dx, rtol=1e-14, atol=1e-15)
    if "booleans" not in case.note:  # a result whose size depends on values has to wait for them
        assert strict_cupy.count == 0


def batch() -> tuple[Any, Any]:
    ids, targets = np.random.default_rng(2).integers(0, 11, (2, 3, 6))  # each (B, T)
    targets[0, 2] = -1
    return ids, targets


def step(model: GPT, mask: Any = None) -> tuple[Any, AdamW]:
    """One training step up to the gradients."""
    optimizer = AdamW(model, lr=1e-2)
    ids, targets = batch()
    with use_stream(Stream(seed=5)):
        _, loss = model(ids, targets, mask=mask)
    assert loss is not None
    loss.backward()
    return loss, optimizer


def test_a_training_step_equals_numpy_and_waits_once_for_the_norm(strict_cupy: type[standin.Waits]) -> None:
    mask = np.ones((3, 6), bool)
    mask[1, 4:] = False
    models = []
    for name in ("numpy", "cupy"):
        with use_backend(name):
            model = GPT(CONFIG, seed=3)
            strict_cupy.count = 0
            _, optimizer = step(model, mask)
            assert strict_cupy.count == 0  # forward and backward never wait
            optimizer.step(clip_scale(float(global_norm([model.flat.grad])), 1.0))
            assert strict_cupy.count == (1 if name == "cupy" else 0)  # the norm, to clip by it
            gradient = backends.active().to_host(model.flat.grad).copy()
            model.zero_grad()
            assert not backends.active().to_host(model.flat.grad).any()
            models.append((gradient, backends.active().to_host(model.flat.data)))
    (gradient, data), (device_gradient, device_data) = models
    np.testing.assert_allclose(device_gradient, gradient, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(device_data, data, rtol=1e-10)


def test_checkpointing_runs_on_the_device(strict_cupy: type[standin.Waits]) -> None:
    with use_backend("cupy"):
        x = Tensor(standin.ndarray(np.arange(3.0)), requires_grad=True)
        checkpoint(lambda t: (t * t).tanh(), x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.values, 2 * np.arange(3.0) * (1 - np.tanh(np.arange(3.0) ** 2) ** 2))


@pytest.mark.parametrize(("saved_under", "loaded_under"), [("numpy", "cupy"), ("cupy", "numpy")])
def test_a_model_saved_under_one_backend_loads_under_the_other(
    saved_under: str, loaded_under: str, tmp_path: Path, strict_cupy: type[standin.Waits]
) -> None:
    config = GPTConfig(vocab_size=256, context_length=4, n_layer=1, n_head=1, d_model=4)
    path = tmp_path / "model.safetensors"
    with use_backend(saved_under):
        model = GPT(config, seed=9)
        save_model(path, model, TOKENIZERS["byte"]())
        weights = backends.active().to_host(model.flat.data)
    with use_backend(loaded_under):
        loaded, _ = load_model(path)
        assert backends.name_of(loaded.flat.data) == loaded_under
        np.testing.assert_array_equal(backends.active().to_host(loaded.flat.data), weights)


def test_gradcheck_runs_on_the_device(strict_cupy: type[standin.Waits]) -> None:
    ids, targets = batch()
    with use_backend("cupy"):
        gradcheck(GPT(CONFIG), [ids, targets], directions=1)
        gradcheck(reduce_max, [np.arange(6.0).reshape(2, 3)], {"axis": None})  # y is 0-d, which NumPy makes a scalar
