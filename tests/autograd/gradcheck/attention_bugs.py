"""Bugs in the gradient of attention and of its softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gradient_bugs import Case, Size, Values, bug

from autograd.backends import Array
from minillm.layers.attention import attention_forward, masked_softmax

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
