"""Bugs in the gradients of the other layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gradient_bugs import Case, Size, bug

from autograd.backends import Array
from minillm.layers.cross_entropy import cross_entropy_forward
from minillm.layers.dropout import dropout_forward, keep_mask
from minillm.layers.embedding import embedding_forward
from minillm.layers.layernorm import layernorm_forward

# embedding


@bug("overwritten")
def embedding_overwrites(size: Size, rng: np.random.Generator) -> Case:
    vocab_size, d_model = size(2, 6), size(1, 4)
    ids = rng.integers(0, vocab_size, (size(1, 3), size(1, 5)))

    def gradient(dy: Array) -> Array:
        dweight = np.zeros((vocab_size, d_model))
        dweight[ids] = dy
        return dweight

    values = {"weight": rng.standard_normal((vocab_size, d_model))}
    return Case("weight", values, lambda weight: embedding_forward(ids, weight)[0], gradient)


# layernorm


def layernorm_case(size: Size, rng: np.random.Generator, through_mean: bool, through_rstd: bool) -> Case:
    c = size(3 if through_mean or through_rstd else 4, 7)
    values = {
        "x": rng.standard_normal((size(1, 3), size(1, 3), c)),
        "weight": rng.standard_normal(c),
        "bias": rng.standard_normal(c),
    }

    def gradient(dy: Array) -> Array:
        _, (x, mean, rstd, weight, _) = layernorm_forward(**values)
        xhat, dxhat = (x - mean) * rstd, dy * weight
        dx = dxhat - through_mean * dxhat.mean(-1, keepdims=True)
        return rstd * (dx - through_rstd * xhat * (dxhat * xhat).mean(-1, keepdims=True))

    return Case("x", values, lambda **v: layernorm_forward(**v)[0], gradient)


@bug("missing term")
def layernorm_without_its_rstd_term(size: Size, rng: np.random.Generator) -> Case:
    return layernorm_case(size, rng, through_mean=True, through_rstd=False)


@bug("missing term")
def layernorm_without_its_mean_term(size: Size, rng: np.random.Generator) -> Case:
    return layernorm_case(size, rng, through_mean=False, through_rstd=True)


@bug("missing term")
def layernorm_without_both_terms(size: Size, rng: np.random.Generator) -> Case:
    return layernorm_case(size, rng, through_mean=False, through_rstd=False)


# bias and weight of a linear layer


def bias_case(shape: tuple[int, ...], rng: np.random.Generator, gradient: Callable[[Array], Array]) -> Case:
    values = {"x": rng.standard_normal(shape), "bias": rng.standard_normal(shape[-1])}
    return Case("bias", values, lambda x, bias: np.tanh(x) + bias, gradient)


@bug("missing sum")
def bias_not_summed_over_time(size: Size, rng: np.random.Generator) -> Case:
    return bias_case((size(1, 3), size(1, 4), size(1, 4)), rng, lambda dy: dy.sum(0))


@bug("missing sum")
def bias_not_summed(size: Size, rng: np.random.Generator) -> Case:
    return bias_case((size(1, 4), size(1, 4)), rng, lambda dy: dy)


@bug("missing sum")
def bias_of_the_first_row(size: Size, rng: np.random.Generator) -> Case:
    return bias_case((size(2, 4), size(2, 4)), rng, lambda dy: dy[0])


@bug("missing sum")
def bias_of_the_last_step(size: Size, rng: np.random.Generator) -> Case:
    return bias_case((size(1, 4), size(2, 4), size(2, 4)), rng, lambda dy: dy[:, -1].sum(0))


@bug("missing sum")
def bias_summed_over_the_wrong_axis(size: Size, rng: np.random.Generator) -> Case:
    n = size(2, 5)
    return bias_case((n, n), rng, lambda dy: dy.sum(1))


@bug("transposed")
def linear_with_weight_transposed(size: Size, rng: np.random.Generator) -> Case:
    c = size(2, 4)
    values = {"x": rng.standard_normal((size(1, 3), c)), "weight": rng.standard_normal((c, c))}
    return Case("x", values, lambda x, weight: x @ weight.T, lambda dy: dy @ values["weight"].T)


@bug("transposed")
def dweight_transposed(size: Size, rng: np.random.Generator) -> Case:
    c = size(2, 4)
    values = {"x": rng.standard_normal((size(1, 3), c)), "weight": rng.standard_normal((c, c))}
    return Case("weight", values, lambda x, weight: x @ weight.T, lambda dy: values["x"].T @ dy)


@bug("factor")
def product_without_the_other_factor(size: Size, rng: np.random.Generator) -> Case:
    c = size(2, 4)
    values = {"x": rng.standard_normal((size(1, 3), c)), "weight": rng.standard_normal(c)}
    return Case("x", values, lambda x, weight: x * weight, lambda dy: dy)


@bug("factor")
def layernorm_without_rstd(size: Size, rng: np.random.Generator) -> Case:
    values = {"x": 3 * rng.standard_normal((size(1, 3), size(4, 6)))}

    def gradient(dy: Array) -> Array:
        _, (x, mean, rstd, _, _) = layernorm_forward(values["x"], np.ones(1))
        xhat = (x - mean) * rstd
        return dy - dy.mean(-1, keepdims=True) - xhat * (dy * xhat).mean(-1, keepdims=True)

    return Case("x", values, lambda x: layernorm_forward(x, np.ones(1))[0], gradient)


# dropout


def dropout_case(size: Size, rng: np.random.Generator, gradient: Callable[[Array, Array, float], Array]) -> Case:
    p, key = float(rng.choice([0.1, 0.25, 0.5])), (int(rng.integers(1 << 30)), 0)
    values = {"x": rng.standard_normal((size(2, 4), size(2, 6)))}
    keep = keep_mask(values["x"].shape, p, key, values["x"])
    return Case("x", values, lambda x: dropout_forward(x, p=p, key=key)[0], lambda dy: gradient(dy, keep, p))


@bug("factor")
def dropout_scales_only_forward(size: Size, rng: np.random.Generator) -> Case:
    return dropout_case(size, rng, lambda dy, keep, p: dy * keep)


@bug("wrong mask")
def dropout_without_its_mask(size: Size, rng: np.random.Generator) -> Case:
    return dropout_case(size, rng, lambda dy, keep, p: dy / (1 - p))


# weights used twice


def tied_case(size: Size, rng: np.random.Generator, embedded: bool, projected: bool) -> Case:
    vocab_size, c, n = size(5, 9), size(3, 6), size(2, 6)
    ids = rng.integers(0, vocab_size, n)
    values = {"weight": rng.standard_normal((vocab_size, c)), "w1": rng.standard_normal((c, c))}

    def gradient(dy: Array) -> Array:
        weight, w1 = values["weight"], values["w1"]
        h = np.tanh(weight[ids] @ w1)  # (N, C)
        dx = (dy @ weight * (1 - h * h)) @ w1.T  # (N, C)
        dweight = dy.T @ h if projected else np.zeros_like(weight)
        if embedded:
            np.add.at(dweight, ids, dx)
        return dweight

    return Case("weight", values, lambda weight, w1: np.tanh(weight[ids] @ w1) @ weight.T, gradient)


@bug("missing term")
def tied_weight_without_the_embedding(size: Size, rng: np.random.Generator) -> Case:
    return tied_case(size, rng, embedded=False, projected=True)


@bug("missing term")
def tied_weight_without_the_head(size: Size, rng: np.random.Generator) -> Case:
    return tied_case(size, rng, embedded=True, projected=False)


@bug("missing term")
def residual_branch_not_counted(size: Size, rng: np.random.Generator) -> Case:
    c = size(3, 6)
    values = {"x": rng.standard_normal((size(2, 4), c)), "weight": rng.standard_normal((c, c))}
    return Case("x", values, lambda x, weight: x + np.tanh(x) @ weight, lambda dy: dy)


@bug("missing term")
def residual_itself_not_counted(size: Size, rng: np.random.Generator) -> Case:
    c = size(3, 6)
    values = {"x": rng.standard_normal((size(2, 4), c)), "weight": rng.standard_normal((c, c))}

    def gradient(dy: Array) -> Array:
        return (dy @ values["weight"].T) * (1 - np.tanh(values["x"]) ** 2)

    return Case("x", values, lambda x, weight: x + np.tanh(x) @ weight, gradient)


@bug("missing term")
def gate_not_counted(size: Size, rng: np.random.Generator) -> Case:
    """SwiGLU-like: x goes into the gate and into what is gated; every element of y depends on x by both ways."""
    c, d = size(4, 6), size(6, 10)
    values = {"x": rng.standard_normal((size(2, 4), c)), **{n: rng.standard_normal((c, d)) for n in ("gate", "up")}}

    def gradient(dy: Array) -> Array:
        return (dy * np.tanh(values["x"] @ values["gate"])) @ values["up"].T

    return Case("x", values, lambda x, gate, up: np.tanh(x @ gate) * (x @ up), gradient)


# cross-entropy


@bug("factor")
def cross_entropy_divided_by_all(size: Size, rng: np.random.Generator) -> Case:
    n, vocab_size = size(2, 6), size(2, 5)
    values = {"logits": rng.standard_normal((n, vocab_size))}
    targets = rng.integers(0, vocab_size, n)
    targets[: size(1, n - 1)] = -1

    def gradient(dloss: Array) -> Array:
        _, (probs, t, share) = cross_entropy_forward(values["logits"], targets)
        return dloss * (probs - np.eye(vocab_size)[t]) * (share > 0)[:, None] / n

    return Case("logits", values, lambda logits: np.asarray(cross_entropy_forward(logits, targets)[0]), gradient)


# no bug that has a name


@bug("unknown")
def other_numbers(size: Size, rng: np.random.Generator) -> Case:
    values = {"x": rng.standard_normal((size(1, 4), size(2, 5))), "weight": rng.standard_normal(5)}
    noise = np.random.default_rng(int(rng.integers(1 << 30)))
    return Case("x", values, lambda x, weight: np.tanh(x), lambda dy: noise.standard_normal(dy.shape))
