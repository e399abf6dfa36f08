"""A module of a model can be replaced by another that computes something else: no fused path may pass it by."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest

from autograd import Tensor, no_grad, use_backend
from minillm import GPT, GPTConfig
from minillm.kv_cache import KVCache
from minillm.module import Module

pytest.importorskip("numba")

CONFIG = GPTConfig(vocab_size=11, context_length=24, n_layer=2, n_head=2, d_model=8)
IDS = np.random.default_rng(0).integers(11, size=(2, 20))
PATHS = ["ln1", "attn", "attn.qkv", "attn.proj", "ln2", "mlp", "mlp.fc", "mlp.proj"]


class Doubled(Module):
    """Twice what another module gives, without its attributes, or, as LoRA would have it, with its weight."""

    def __init__(self, module: Module, has_weight: bool) -> None:
        self.module = module
        if has_weight:
            self.weight, self.bias, self.eps = module.weight, module.bias, 1e-5

    def __call__(self, x: Tensor, *others: object) -> Tensor:
        return self.module(x, *others) * np.float32(2)


def replaced(path: str, has_weight: bool) -> GPT:
    model = GPT(CONFIG)
    model.flat.data += 0.1 * np.random.default_rng(1).standard_normal(model.flat.data.size).astype("float32")
    owner, _, name = path.rpartition(".")
    module = attrgetter(owner)(model.blocks[1]) if owner else model.blocks[1]
    setattr(module, name, Doubled(getattr(module, name), has_weight))
    return model


@pytest.mark.parametrize("path", PATHS)
def test_a_replaced_module_is_run(path: str) -> None:
    has_weight = path not in ("attn", "mlp")
    with no_grad():
        expected = replaced(path, has_weight).loss(IDS, IDS).item()
        with use_backend("numba"):
            model = replaced(path, has_weight)
            assert model.loss(IDS, IDS).item() == pytest.approx(expected, rel=1e-5)
            logits, cache = model(IDS)[0].numpy(), KVCache(CONFIG, 2, like=model.flat.data)
            model(IDS[:, :-1], cache=cache)
            token, _ = model(IDS[:, -1:], cache=cache)
    np.testing.assert_allclose(token.numpy()[:, 0], logits[:, -1], rtol=1e-4, atol=1e-5)


def test_a_replaced_last_norm_is_run() -> None:
    losses = []
    for backend in ("numpy", "numba"):
        with use_backend(backend), no_grad():
            model = GPT(CONFIG)
            model.ln_f = Doubled(model.ln_f, has_weight=True)  # type: ignore[assignment]
            losses.append(model.loss(IDS, IDS).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
