"""The position-wise feed-forward layer: widen, activate, narrow. Vaswani et al. 2017, arXiv:1706.03762, eq. 2."""

from __future__ import annotations

import numpy as np

from autograd import Tensor
from minillm.layers.activations import ACTIVATIONS
from minillm.layers.linear import Linear
from minillm.module import Dtype, Module


class FeedForward(Module):
    """`proj(activation(fc(x)))`, d_model -> d_ff -> d_model."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str,
        bias: bool,
        proj_std: float,
        rng: np.random.Generator,
        dtype: Dtype,
    ) -> None:
        self.fc = Linear(d_model, d_ff, bias=bias, rng=rng, dtype=dtype)
        self.proj = Linear(d_ff, d_model, bias=bias, std=proj_std, rng=rng, dtype=dtype)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Tensor) -> Tensor:  # (..., d_model) -> (..., d_model)
        return self.proj(self.activation(self.fc(x)))
