"""No kernel is left to compile once generation has begun."""

from __future__ import annotations

import numpy as np
import pytest

from autograd import jit, use_backend
from minillm import GPT, GPTConfig
from minillm.generate import generate
from minillm.generate.warm_up import warm_up

pytest.importorskip("numba")


@pytest.mark.parametrize("activation", ["gelu_tanh", "relu"])
@pytest.mark.parametrize("n_prompt", [1, 3, 20, 24])
def test_generation_calls_no_kernel_that_the_warm_up_did_not(n_prompt, activation, monkeypatch):
    config = GPTConfig(
        vocab_size=9, context_length=24, n_layer=2, n_head=2, d_model=8, activation=activation, dropout=0.1
    )
    called: set[str] = set()

    def call(kernel: jit.Compiled, *args: object) -> object:
        called.add(f"{kernel.python.__module__}.{kernel.__name__}")
        return (kernel.machine() if jit.ENABLED else kernel.python)(*args)

    monkeypatch.setattr(jit.Compiled, "__call__", call)
    with use_backend("numba"):
        warm_up(config)
        warmed = called.copy()
        called.clear()
        list(generate(GPT(config), np.zeros(n_prompt, int), 25))
    assert called
    assert called <= warmed
