"""Which path a fused op takes: a twin where one would run, else its parts."""

from __future__ import annotations

import numpy as np
import pytest

from autograd import Op, Tensor, compose, observe, use_backend
from minillm.layers.layernorm import layernorm

pytest.importorskip("numba")

X, W = np.ones((2, 3), np.float32), np.ones(3, np.float32)


def test_a_twin_runs_on_contiguous_float32_of_its_backend() -> None:
    assert not layernorm.has_twin(X, W)
    with use_backend("numba"):
        assert layernorm.has_twin(X, W)
        assert layernorm.has_twin(Tensor(X), Tensor(W), None)
        assert not layernorm.has_twin(X.astype("float64"), W)
        assert not layernorm.has_twin(X, Tensor(W.astype("float64")))
        assert not layernorm.has_twin(np.asfortranarray(X), W)
        assert not Op.registry["erf"].has_twin(X)


def test_observers_and_compositions_see_the_parts() -> None:
    with use_backend("numba"):
        with observe(lambda *_: None):
            assert not layernorm.has_twin(X, W)
        with compose():
            assert not layernorm.has_twin(X, W)
        assert layernorm.has_twin(X, W)
