"""Gradients with one bug each, in the layers' own NumPy code: what a diagnosis must recognise.

A bug draws its shapes with `size(low, high)` and its numbers from `rng`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from autograd.backends import Array
from autograd.gradcheck.diagnosis import Evidence, Kind
from autograd.gradcheck.oracles import complex_step
from minillm.layers.attention import attention_forward, masked_softmax
from minillm.layers.cross_entropy import cross_entropy_forward
from minillm.layers.dropout import dropout_forward
from minillm.layers.embedding import embedding_forward
from minillm.layers.layernorm import layernorm_forward

Values = Mapping[str, Array]
Size = Callable[[int, int], int]


@dataclass(frozen=True)
class Case:
    """A function of named arrays, and the wrong gradient of the one called `name`."""

    name: str
    values: Values
    forward: Callable[..., Array]
    gradient: Callable[[Array], Array]


Bug = Callable[[Size, np.random.Generator], Case]
BUGS: dict[str, tuple[Kind, Bug]] = {}


def bug(kind: Kind) -> Callable[[Bug], Bug]:
    """Decorator: this bug is of that kind."""

    def register(make: Bug) -> Bug:
        BUGS[make.__name__] = kind, make
        return make

    return register


def evidence(case: Case, rng: np.random.Generator, n_more: int = 3, responses: bool = True) -> Evidence | None:
    """All that is known about the wrong gradient, or None where the bug happens to do no harm."""
    x, y = case.values[case.name], case.forward(**case.values)
    numbers = {name: value.astype(complex) for name, value in case.values.items()}

    def slope(place: tuple[int, ...]) -> Array:
        v = np.zeros(x.shape)
        v[place] = 1
        found = complex_step(lambda t: case.forward(**{**numbers, case.name: x + t * v}), np.ones(y.shape))
        assert found is not None
        return found.terms

    slopes = np.reshape([slope(place) for place in np.ndindex(x.shape)], (*x.shape, *y.shape))
    over = tuple(range(x.ndim, slopes.ndim))
    dys = [np.asarray(rng.standard_normal(y.shape)) for _ in range(1 + n_more)]
    pairs = [(case.gradient(dy), np.asarray((slopes * dy).sum(over))) for dy in dys]
    analytic, numeric = pairs[0]
    same_shape = analytic is not None and analytic.shape == numeric.shape
    wrong = np.ones(numeric.shape, bool)
    if same_shape:
        wrong = ~(np.abs(analytic - numeric) <= 1e-9 * np.abs(numeric).max(initial=0))
    if not wrong.any():
        return None
    more = pairs[1:] if same_shape else ()
    by_y = None
    if same_shape and responses:
        one_at_a_time = [case.gradient(np.reshape(row, y.shape)) for row in np.diag(dys[0].ravel())]
        by_y = np.reshape(np.stack(one_at_a_time, -1), slopes.shape)
    return Evidence(case.name, analytic, numeric, wrong, slopes * dys[0], case.values, y, dys[0], more, 1e-5, by_y)


# attention: q.T @ dscores where dscores.T @ q belongs


def attend(q: Array, k: Array, v: Array, allowed: Array | bool = True) -> tuple[Array, Array]:
    """q, k, v (..., T, D) -> y (..., T, D), probs (..., T, T)."""
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    probs = masked_softmax(scores, np.broadcast_to(allowed, scores.shape))
    return probs @ v, probs


def attention_grads(dy: Array, q: Array, k: Array, v: Array, probs: Array) -> tuple[Array, Array]:
    """dq (..., T, D) and dscores (..., T, T), the scale in it."""
    dprobs = dy @ v.swapaxes(-1, -2)
    dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True)) / q.shape[-1] ** 0.5
    return dscores @ k, dscores


def dk_case(shape: tuple[int, ...], rng: np.random.Generator, causal: bool) -> tuple[Values, Callable[[Array], Array]]:
    values = {name: rng.standard_normal(shape) for name in "qkv"}
    allowed = np.tri(shape[-2], dtype=bool) if causal else True

    def wrong(dy: Array) -> Array:
        _, probs = attend(**values, allowed=allowed)
        _, dscores = attention_grads(dy, **values, probs=probs)
        return values["q"].swapaxes(-1, -2) @ dscores  # (..., D, T)

    return values, wrong


@bug("transposed")
def dk_transposed_where_it_fits(size: Size, rng: np.random.Generator) -> Case:
    t = size(2, 4)
    allowed = np.tri(t, dtype=bool)
    values, wrong = dk_case((size(1, 2), size(1, 2), t, t), rng, causal=True)
    return Case("k", values, lambda **v: attend(**v, allowed=allowed)[0], wrong)


@bug("transposed")
def dk_transposed_and_reshaped(size: Size, rng: np.random.Generator) -> Case:
    values, wrong = dk_case((size(1, 2), size(1, 2), size(2, 5), size(2, 5)), rng, causal=False)
    shape = values["k"].shape
    return Case("k", values, lambda **v: attend(**v)[0], lambda dy: wrong(dy).reshape(shape))


@bug("transposed")
def dk_of_the_transposed_shape(size: Size, rng: np.random.Generator) -> Case:
    t = size(2, 4)
    values, wrong = dk_case((t, t + size(1, 2)), rng, causal=False)
    return Case("k", values, lambda **v: attend(**v)[0], wrong)


def split(qkv: Array, n_head: int) -> Array:
    """(B, T, 3C) -> q, k, v, each (B, H, T, D)."""
    b, t, c3 = qkv.shape
    return qkv.reshape(b, t, 3, n_head, c3 // 3 // n_head).transpose(2, 0, 3, 1, 4)


def merge(*dqkv: Array) -> Array:
    """Gradients (B, H, T, D) of q, k, v -> (B, T, 3C)."""
    d = np.stack(dqkv).transpose(1, 3, 0, 2, 4)  # (B, T, 3, H, D)
    return d.reshape(*d.shape[:2], -1)


def packed(
    size: Size,
    rng: np.random.Generator,
    t: int,
    d: int,
    change: Callable[[Array, Array, Array, Array, Array], tuple[Array, ...]],
) -> Case:
    """Attention of packed qkv, whose gradient is `change(dq, dk, dv, q, dscores)`."""
    b, n_head = size(1, 2), size(1, 2)
    qkv = rng.standard_normal((b, t, 3 * n_head * d))

    def gradient(dy: Array) -> Array:
        q, k, v = split(qkv, n_head)
        _, probs = attend(q, k, v, np.tri(t, dtype=bool))
        dy = dy.reshape(b, t, n_head, d).transpose(0, 2, 1, 3)
        dq, dscores = attention_grads(dy, q, k, v, probs)
        return merge(*change(dq, dscores.swapaxes(-1, -2) @ q, probs.swapaxes(-1, -2) @ dy, q, dscores))

    return Case("qkv", {"qkv": qkv}, lambda qkv: attention_forward(qkv, n_head=n_head)[0], gradient)


@bug("transposed")
def packed_dk_transposed(size: Size, rng: np.random.Generator) -> Case:
    t = size(2, 4)
    return packed(size, rng, t, t, lambda dq, dk, dv, q, ds: (dq, q.swapaxes(-1, -2) @ ds, dv))


@bug("transposed")
def packed_dk_reshaped(size: Size, rng: np.random.Generator) -> Case:
    t, d = size(2, 5), size(2, 4)
    return packed(size, rng, t, d, lambda dq, dk, dv, q, ds: (dq, (q.swapaxes(-1, -2) @ ds).reshape(dk.shape), dv))


@bug("transposed")
def packed_heads_not_put_back(size: Size, rng: np.random.Generator) -> Case:
    def change(dq: Array, dk: Array, dv: Array, *_: Array) -> tuple[Array, ...]:
        b, h, t, d = dq.shape
        return tuple(g.reshape(b, t, h, d).transpose(0, 2, 1, 3) for g in (dq, dk, dv))

    return packed(size, rng, size(2, 4), size(1, 4), change)


@bug("transposed")
def packed_dk_heads_not_put_back(size: Size, rng: np.random.Generator) -> Case:
    def change(dq: Array, dk: Array, dv: Array, *_: Array) -> tuple[Array, ...]:
        b, h, t, d = dk.shape
        return dq, dk.reshape(b, t, h, d).transpose(0, 2, 1, 3), dv

    return packed(size, rng, size(2, 4), size(2, 4), change)


@bug("zero")
def packed_dk_zero(size: Size, rng: np.random.Generator) -> Case:
    return packed(size, rng, size(2, 4), size(2, 4), lambda dq, dk, dv, *_: (dq, 0 * dk, dv))


@bug("sign")
def packed_dk_negative(size: Size, rng: np.random.Generator) -> Case:
    return packed(size, rng, size(2, 4), size(1, 4), lambda dq, dk, dv, *_: (dq, -dk, dv))


@bug("factor")
def packed_dk_without_the_scale(size: Size, rng: np.random.Generator) -> Case:
    return packed(size, rng, size(2, 4), size(2, 4), lambda dq, dk, dv, q, _: (dq, dk * q.shape[-1] ** 0.5, dv))


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
    _, (keep, _) = dropout_forward(values["x"], p=p, key=key)
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


# masks


def masked_case(size: Size, rng: np.random.Generator, dx: Callable[[Array, Array, Array], Array]) -> Case:
    """Causal softmax of scores; its gradient is dx(dy, unmasked probs, masked probs)."""
    t = size(3, 5)
    values = {"scores": rng.standard_normal((size(1, 2), t, t))}
    allowed = np.tri(t, dtype=bool)
    unmasked, masked = (masked_softmax(values["scores"], np.asarray(a)) for a in (True, allowed))
    return Case("scores", values, lambda scores: masked_softmax(scores, allowed), lambda dy: dx(dy, unmasked, masked))


def softmax_dx(dy: Array, probs: Array) -> Array:
    return probs * (dy - (dy * probs).sum(-1, keepdims=True))


@bug("wrong mask")
def mask_after_softmax_in_backward(size: Size, rng: np.random.Generator) -> Case:
    return masked_case(size, rng, lambda dy, unmasked, masked: softmax_dx(dy, unmasked) * (masked > 0))


@bug("wrong mask")
def padding_masked_after_softmax_in_backward(size: Size, rng: np.random.Generator) -> Case:
    t, s = size(2, 3), size(4, 5)
    values = {"scores": rng.standard_normal((t, s))}
    allowed = np.arange(s) < np.arange(t)[:, None] + s - t + 1  # the last query sees all keys
    unmasked = masked_softmax(values["scores"], np.asarray(True))
    return Case(
        "scores", values, lambda scores: masked_softmax(scores, allowed), lambda dy: softmax_dx(dy, unmasked) * allowed
    )


@bug("wrong mask")
def dscores_not_masked(size: Size, rng: np.random.Generator) -> Case:
    return masked_case(size, rng, lambda dy, unmasked, masked: softmax_dx(dy, unmasked))


@bug("wrong mask")
def mask_off_by_one(size: Size, rng: np.random.Generator) -> Case:
    return masked_case(size, rng, lambda dy, unmasked, masked: np.tril(softmax_dx(dy, masked), -1))


@bug("wrong mask")
def packed_dscores_not_masked(size: Size, rng: np.random.Generator) -> Case:
    t, d, n_head = size(2, 4), size(2, 4), size(1, 2)
    qkv = rng.standard_normal((1, t, 3 * n_head * d))

    def gradient(dy: Array) -> Array:
        q, k, v = split(qkv, n_head)
        _, probs = attend(q, k, v, np.tri(t, dtype=bool))
        _, unmasked = attend(q, k, v)
        dy = dy.reshape(1, t, n_head, d).transpose(0, 2, 1, 3)
        dq, dscores = attention_grads(dy, q, k, v, unmasked)
        return merge(dq, dscores.swapaxes(-1, -2) @ q, probs.swapaxes(-1, -2) @ dy)

    return Case("qkv", {"qkv": qkv}, lambda qkv: attention_forward(qkv, n_head=n_head)[0], gradient)


def unmasked_case(size: Size, rng: np.random.Generator, name: str) -> Case:
    """Causal attention whose backward takes the probabilities without the mask."""
    shape = (size(1, 2), size(1, 2), size(3, 4), size(2, 3))
    values = {n: rng.standard_normal(shape) for n in "qkv"}
    allowed = np.tri(shape[-2], dtype=bool)

    def gradient(dy: Array) -> Array:
        _, probs = attend(**values)
        dq, dscores = attention_grads(dy, **values, probs=probs)
        return {"q": dq, "k": dscores.swapaxes(-1, -2) @ values["q"], "v": probs.swapaxes(-1, -2) @ dy}[name]

    return Case(name, values, lambda **v: attend(**v, allowed=allowed)[0], gradient)


@bug("wrong mask")
def dq_not_masked(size: Size, rng: np.random.Generator) -> Case:
    return unmasked_case(size, rng, "q")


@bug("wrong mask")
def dk_not_masked(size: Size, rng: np.random.Generator) -> Case:
    return unmasked_case(size, rng, "k")


@bug("wrong mask")
def dv_not_masked(size: Size, rng: np.random.Generator) -> Case:
    return unmasked_case(size, rng, "v")


@bug("wrong mask")
def mask_after_softmax_left_out(size: Size, rng: np.random.Generator) -> Case:
    t = size(3, 5)
    values = {"scores": rng.standard_normal((t, t))}
    probs = masked_softmax(values["scores"], np.asarray(True))
    forward = lambda scores: masked_softmax(scores, np.asarray(True)) * np.tri(t, dtype=bool)  # noqa: E731
    return Case("scores", values, forward, lambda dy: softmax_dx(dy, probs))


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
def softmax_summed_over_a_wrong_axis(size: Size, rng: np.random.Generator) -> Case:
    values = {"x": rng.standard_normal((size(3, 4), size(3, 4)))}
    probs = masked_softmax(values["x"], np.asarray(True))
    return Case(
        "x",
        values,
        lambda x: masked_softmax(x, np.asarray(True)),
        lambda dy: probs * (dy - (dy * probs).sum(0, keepdims=True)),
    )


@bug("unknown")
def other_numbers(size: Size, rng: np.random.Generator) -> Case:
    values = {"x": rng.standard_normal((size(1, 4), size(2, 5))), "weight": rng.standard_normal(5)}
    noise = np.random.default_rng(int(rng.integers(1 << 30)))
    return Case("x", values, lambda x, weight: np.tanh(x), lambda dy: noise.standard_normal(dy.shape))
