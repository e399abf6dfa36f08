"""Calls of every layer, for the tests that draw shapes and numbers: which sizes and arrays it takes from a draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autograd import Op
from autograd.gradcheck import Report, gradcheck
from autograd.gradcheck.strategies import LAYOUTS, VALUES, Arrays
from minillm.layers import CausalSelfAttention, FeedForward
from minillm.layers.cross_entropy import IGNORE_INDEX
from minillm.module import Module


@dataclass(frozen=True)
class Draw:
    """Sizes, one of four variants of the call, and how to make its arrays."""

    B: int
    T: int
    H: int
    D: int
    variant: int
    arrays: Arrays

    @property
    def C(self) -> int:
        return self.H * self.D

    @classmethod
    def of_seed(cls, seed: int, dtype: str) -> Draw:
        """Sizes, variant, layout and values that a seed decides."""
        rng = np.random.default_rng(seed)
        arrays = Arrays(str(rng.choice(LAYOUTS)), str(rng.choice(VALUES)), dtype, seed)
        B, T, H, D, variant = (int(n) for n in rng.integers((1, 1, 1, 1, 0), (3, 4, 3, 4, 4)))
        return cls(B, T, H, D, variant, arrays)


@dataclass(frozen=True)
class Call:
    """What to hand to gradcheck."""

    target: Any
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    directions: int | None = None  # None: element by element

    def check(self, dtype: str, seed: int = 0) -> Report:
        options: dict[str, Any] = {"constants": self.constants, "directions": self.directions}
        return gradcheck(self.target, self.inputs, self.attributes, dtype=dtype, seed=seed, **options)


def op(name: str, inputs: Sequence[Any], **attributes: Any) -> Call:
    return Call(Op.registry[name], inputs, attributes)


def linear(d: Draw) -> Call:
    x, weight, bias = d.arrays.make((d.B, d.T, d.D), (d.H, d.D), (d.H,))
    return op("linear", [x, weight, bias] if d.variant % 2 == 0 else [x, weight])


def embedding(d: Draw) -> Call:
    return op("embedding", [d.arrays.ids((d.B, d.T), below=d.C), *d.arrays.make((d.C, d.D))])


def layernorm(d: Draw) -> Call:
    x, weight, bias = d.arrays.make((d.B, d.T, d.C), (d.C,), (d.C,))
    return op("layernorm", [x, weight, bias] if d.variant % 2 == 0 else [x, weight])


def elementwise(name: str) -> Callable[[Draw], Call]:
    return lambda d: op(name, d.arrays.make((d.B, d.T, d.D)))


def along_axis(name: str) -> Callable[[Draw], Call]:
    return lambda d: op(name, d.arrays.make((d.B, d.T, d.D)), axis=(-1, 0, 1, 2)[d.variant])


def dropout(d: Draw) -> Call:
    return op("dropout", d.arrays.make((d.B, d.T, d.D)), p=(0.4, 0.0, 0.9, 0.1)[d.variant], key=(d.arrays.seed, 1))


def attention(d: Draw) -> Call:
    """Variants: causal; causal with padding; all to all with a mask by query and key; causal with dropout."""
    mask = [None, d.arrays.mask((d.B, d.T)), d.arrays.mask((d.B, d.T, d.T)), None][d.variant]
    more = {"dropout": 0.4, "dropout_key": (d.arrays.seed, 2)} if d.variant == 3 else {"causal": d.variant != 2}
    return op("attention", [*d.arrays.make((d.B, d.T, 3 * d.C)), mask], n_head=d.H, **more)


def cross_entropy(d: Draw) -> Call:
    """Variants: plain; some or all targets ignored; with weights; with both."""
    targets = d.arrays.ids((d.B, d.T), below=d.C)
    if d.variant % 2:
        targets = np.where(d.arrays.mask((d.B, d.T)), targets, IGNORE_INDEX)
    logits, weights = d.arrays.make((d.B, d.T, d.C), (d.B, d.T))
    if d.variant < 2:
        return op("cross_entropy", [logits, targets])
    return Call(Op.registry["cross_entropy"], [logits, targets, np.abs(weights)], constants=("weights",))


def not_large(arrays: Arrays) -> Arrays:
    """Ordinary numbers for +-1e4: weights of that size in a row make a slope too steep for any difference."""
    return replace(arrays, values="normal") if arrays.values == "large" else arrays


def feed_forward_half(d: Draw) -> Call:
    """Variants: plain; without some or all biases."""
    C, F = max(d.C, 2), d.D + 1  # the norm of 1 is 0, and what rounding makes of it is multiplied by 1/sqrt(eps)
    shapes = ((d.B, d.T, C), (C,), (C,), (F, C), (F,), (C, F), (C,))
    x, norm_weight, norm_bias, fc_weight, fc_bias, proj_weight, proj_bias = not_large(d.arrays).make(*shapes)
    norm_bias = norm_bias if d.variant < 2 else None
    fc_bias, proj_bias = (fc_bias, proj_bias) if d.variant % 2 == 0 else (None, None)
    return op("feed_forward_half", [x, norm_weight, norm_bias, fc_weight, fc_bias, proj_weight, proj_bias])


def attention_half(d: Draw) -> Call:
    """Variants: plain; without some or all biases."""
    C = max(d.C, 2)  # the norm of 1 is 0, and what rounding makes of it is multiplied by 1/sqrt(eps)
    shapes = ((d.B, d.T, C), (C,), (C,), (3 * C, C), (3 * C,), (C, C), (C,))
    x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias = not_large(d.arrays).make(*shapes)
    qkv_weight = qkv_weight / qkv_weight.dtype.type(4)  # no softmax that is one key or another
    norm_bias = norm_bias if d.variant < 2 else None
    qkv_bias, proj_bias = (qkv_bias, proj_bias) if d.variant % 2 == 0 else (None, None)
    inputs = [x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias]
    return op("attention_half", inputs, n_head=d.H)


def head_loss(d: Draw) -> Call:
    """Variants: plain; some or all targets ignored; without bias; with both."""
    shapes = (d.B, d.T, d.C), (d.C,), (d.C,), (d.D, d.C)
    x, norm_weight, norm_bias, weight = not_large(d.arrays).make(*shapes)
    targets = d.arrays.ids((d.B, d.T), below=d.D)
    if d.variant % 2:
        targets = np.where(d.arrays.mask((d.B, d.T)), targets, IGNORE_INDEX)
    return op("head_loss", [x, norm_weight, norm_bias if d.variant < 2 else None, weight, targets])


def with_parameters_of(module: Module, d: Draw) -> Module:
    """The module with drawn parameters: initial weights are small and biases zero, which would hide much."""
    parameters = list(module.parameters())
    for p, values in zip(parameters, d.arrays.make(*(p.shape for p in parameters)), strict=True):
        p.data = values
    return module


def causal_self_attention(d: Draw) -> Call:
    module = CausalSelfAttention(
        d.C,
        d.H,
        bias=d.variant % 2 == 0,
        dropout=0.3 if d.variant == 3 else 0.0,
        proj_std=1.0,
        rng=np.random.default_rng(0),
        dtype=d.arrays.dtype,  # type: ignore[arg-type]
    )
    return Call(with_parameters_of(module, d), d.arrays.make((d.B, d.T, d.C)), directions=2)


def feed_forward(d: Draw) -> Call:
    module = FeedForward(
        d.C,
        2 * d.C,
        activation=("gelu", "relu", "gelu_tanh", "relu")[d.variant],
        bias=d.variant < 3,
        proj_std=1.0,
        rng=np.random.default_rng(0),
        dtype=d.arrays.dtype,  # type: ignore[arg-type]
    )
    return Call(with_parameters_of(module, d), d.arrays.make((d.B, d.T, d.C)), directions=2)


LAYERS: dict[str, Callable[[Draw], Call]] = {
    "linear": linear,
    "embedding": embedding,
    "layernorm": layernorm,
    "relu": elementwise("relu"),
    "gelu": elementwise("gelu"),
    "gelu_tanh": elementwise("gelu_tanh"),
    "softmax": along_axis("softmax"),
    "reduce_max": along_axis("reduce_max"),
    "dropout": dropout,
    "attention": attention,
    "cross_entropy": cross_entropy,
    "attention_half": attention_half,
    "feed_forward_half": feed_forward_half,
    "head_loss": head_loss,
    "causal_self_attention": causal_self_attention,
    "feed_forward": feed_forward,
}
