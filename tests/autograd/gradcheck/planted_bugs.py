"""Layers as their users write them, and one bug planted in each: a line of the right layer, changed.

Some are plain functions of arrays, some are ops of their own, some are modules.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from autograd import Op, Tensor
from autograd.backends import Array
from autograd.gradcheck import Law
from autograd.gradcheck.laws import causal
from minillm.module import Module, Parameter

Any_ = TypeVar("Any_", bound=Callable[..., Any])
Sizes = Callable[[int, int], int]  # a length between two


def changed(source: Any_, *lines: tuple[str, str]) -> Any_:
    """The function or class with some of its text replaced."""
    text = textwrap.dedent(inspect.getsource(source))
    for right, wrong in lines:
        assert text.count(right) == 1, f"{right!r} is not once in {source.__name__}"
        text = text.replace(right, wrong)
    namespace = dict(vars(inspect.getmodule(source)))
    exec(compile(f"from __future__ import annotations\n{text}", "<planted>", "exec"), namespace)
    made: Any_ = namespace[source.__name__]
    return made


def own_op(forward: Callable[..., Any], backward: Callable[..., Any]) -> Op:
    """An Op that is not in the registry, where every op must have a case."""
    op = Op(forward, backward)
    del Op.registry[op.name]
    return op


# causal attention of one head, in plain NumPy


def softmax(x: Array) -> Array:
    e = np.exp(x - x.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def my_attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5  # (B, T, T)
    mask = np.tri(scores.shape[-1], dtype=bool)  # (T, T)
    probs = softmax(np.where(mask, scores, -np.inf))  # (B, T, T)
    return probs @ v, (q, k, v, scores, mask)


def my_attention_backward(dy: Array, q: Array, k: Array, v: Array, scores: Array, mask: Array) -> tuple[Array, ...]:
    probs = softmax(np.where(mask, scores, -np.inf))  # (B, T, T)
    dv = probs.swapaxes(-1, -2) @ dy  # (B, T, D)
    dprobs = dy @ v.swapaxes(-1, -2)  # (B, T, T)
    dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True)) / q.shape[-1] ** 0.5  # (B, T, T)
    dq = dscores @ k  # (B, T, D)
    dk = dscores.swapaxes(-1, -2) @ q  # (B, T, D)
    return dq, dk, dv


def qkv(size: Sizes, rng: np.random.Generator) -> list[Array]:
    shape = size(1, 2), size(2, 4), size(2, 4)
    return [rng.standard_normal(shape) for _ in range(3)]


def square_qkv(size: Sizes, rng: np.random.Generator) -> list[Array]:
    """As many positions as each is wide: there the transposed gradient has the right shape."""
    batch, n = size(1, 2), size(2, 4)
    return [rng.standard_normal((batch, n, n)) for _ in range(3)]


# an embedding, as an op and a module that is no Module of minillm


def my_embedding_forward(ids: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return weight[ids], (ids, weight)


def my_embedding_backward(dy: Array, ids: Array, weight: Array) -> tuple[None, Array]:
    dweight = np.zeros_like(weight)  # (V, C)
    np.add.at(dweight, ids, dy)
    return None, dweight


class Table:
    def __init__(self, op: Op) -> None:
        self.op, self.weight = op, Tensor(np.random.default_rng(1).standard_normal((5, 3)), requires_grad=True)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield "weight", self.weight

    def __call__(self, ids: Array) -> Tensor:
        return self.op(ids, self.weight)


def ids_that_repeat(size: Sizes, rng: np.random.Generator) -> list[Array]:
    ids = rng.integers(0, 5, (size(1, 3), size(2, 5)))
    ids[0, 1] = ids[0, 0]
    return [ids]


# LayerNorm, as an op


def my_layernorm_forward(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> tuple[Array, tuple[Array, ...]]:
    mean = x.mean(-1, keepdims=True)  # (B, T, 1)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)  # (B, T, 1)
    xhat = (x - mean) * rstd  # (B, T, C)
    return xhat * weight + bias, (xhat, rstd, weight)


def my_layernorm_backward(dy: Array, xhat: Array, rstd: Array, weight: Array) -> tuple[Array, ...]:
    dxhat = dy * weight  # (B, T, C)
    dx = dxhat - dxhat.mean(-1, keepdims=True) - xhat * (dxhat * xhat).mean(-1, keepdims=True)
    return rstd * dx, (dy * xhat).sum((0, 1)), dy.sum((0, 1))


def rows_weight_bias(size: Sizes, rng: np.random.Generator) -> list[Array]:
    c = size(4, 6)
    return [rng.standard_normal((size(1, 2), size(1, 3), c)), rng.standard_normal(c), rng.standard_normal(c)]


# a linear layer, in plain NumPy


def my_linear_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weight + bias, (x, weight)


def my_linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    dweight = np.einsum("btc,btd->cd", x, dy)  # (C, D)
    dbias = dy.sum((0, 1))  # (D,)
    return dy @ weight.T, dweight, dbias


def linear_inputs(size: Sizes, rng: np.random.Generator) -> list[Array]:
    c, d = size(2, 4), size(2, 4)
    shapes = (size(2, 3), size(2, 3), c), (c, d), (d,)
    return [rng.standard_normal(shape) for shape in shapes]


# dropout, in plain NumPy, from NumPy's global generator


def my_dropout_forward(x: Array, *, p: float) -> tuple[Array, tuple[Array, float]]:
    keep = np.random.random(x.shape) >= p  # noqa: NPY002  # what many layers do
    return x * keep / (1 - p), (keep, p)


def my_dropout_backward(dy: Array, keep: Array, p: float) -> tuple[Array]:
    return (dy * keep / (1 - p),)


def rows(size: Sizes, rng: np.random.Generator) -> list[Array]:
    return [rng.standard_normal((size(3, 5), size(4, 6)))]


# a language model whose embedding and head are one matrix, as a module of primitives


class Tied(Module):
    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self.table = Parameter(rng.standard_normal((6, 4)), "embedding")
        self.hidden = Parameter(rng.standard_normal((4, 4)), "weight")

    def __call__(self, ids: Array) -> Tensor:  # (T,) -> (T, V)
        x = self.table[ids]  # (T, C)
        return (x @ self.hidden).tanh() @ self.table.transpose(1, 0)


def ids_of_six(size: Sizes, rng: np.random.Generator) -> list[Array]:
    return [rng.integers(0, 6, size(3, 5))]


# cross-entropy that ignores some targets, in plain NumPy


def my_loss_forward(logits: Array, targets: Array) -> tuple[Array, tuple[Array, ...]]:
    counted = targets >= 0  # (N,)
    rows = np.arange(len(targets))
    probs = softmax(logits)  # (N, V)
    nll = -np.log(probs[rows, targets]) * counted  # (N,)
    return nll.sum() / counted.sum(), (probs, targets, counted)


def my_loss_backward(dloss: Array, probs: Array, targets: Array, counted: Array) -> tuple[Array, None]:
    dlogits = probs.copy()  # (N, V)
    dlogits[np.arange(len(targets)), targets] -= 1
    dlogits *= (counted * dloss / counted.sum())[:, None]
    return dlogits.astype(probs.dtype), None


def logits_and_targets(size: Sizes, rng: np.random.Generator) -> list[Array]:
    n, vocab_size = size(3, 6), size(2, 5)
    targets = rng.integers(0, vocab_size, n)
    targets[0] = -1
    return [rng.standard_normal((n, vocab_size)), targets]


@dataclass(frozen=True)
class Planted:
    """A right layer, the same with a bug, and what gradcheck must say of it.

    Attributes:
        inputs: draws them, from lengths and a generator.
        wrong_in: the inputs and parameters whose gradient is wrong; none where a law alone finds the bug.
        told: what the message says, as a regular expression.
    """

    right: Any
    wrong: Any
    inputs: Callable[[Sizes, np.random.Generator], list[Array]]
    wrong_in: Sequence[str]
    told: str
    attributes: dict[str, Any]
    laws: Sequence[Law] = ()


ATTENTION = my_attention_forward, my_attention_backward
MASKED = "softmax(np.where(mask, scores, -np.inf))"
Q_T_DSCORES = changed(my_attention_backward, ("dk = dscores.swapaxes(-1, -2) @ q", "dk = q.swapaxes(-1, -2) @ dscores"))
LATE_MASK = (
    changed(my_attention_forward, (MASKED, "softmax(scores) * mask")),
    changed(
        my_attention_backward,
        (MASKED, "softmax(scores)"),
        ("dv = probs", "dv = (probs * mask)"),
        ("dprobs = dy @ v.swapaxes(-1, -2)", "dprobs = dy @ v.swapaxes(-1, -2) * mask"),
    ),
)
OVERWRITES = changed(my_embedding_backward, ("np.add.at(dweight, ids, dy)", "dweight[ids] = dy"))
ONE_TERM_LESS = changed(my_layernorm_backward, (" - xhat * (dxhat * xhat).mean(-1, keepdims=True)", ""))
NOT_SUMMED = changed(my_linear_backward, ("dbias = dy.sum((0, 1))", "dbias = dy.sum(0)"))

PLANTED = {
    "q.T @ dscores for dk": Planted(
        ATTENTION, (my_attention_forward, Q_T_DSCORES), square_qkv, ["k"], r"diagnosis: looks transposed", {}
    ),
    "q.T @ dscores for dk, of another shape": Planted(
        ATTENTION, (my_attention_forward, Q_T_DSCORES), qkv, ["k"], r"diagnosis: looks transposed", {}
    ),
    "an embedding that overwrites": Planted(
        Table(own_op(my_embedding_forward, my_embedding_backward)),
        Table(own_op(my_embedding_forward, OVERWRITES)),
        ids_that_repeat,
        ["weight"],
        r"at fault is my_embedding, (.|\n)*diagnosis: looks overwritten",
        {},
    ),
    "LayerNorm without xhat * E[dxhat * xhat]": Planted(
        own_op(my_layernorm_forward, my_layernorm_backward),
        own_op(my_layernorm_forward, ONE_TERM_LESS),
        rows_weight_bias,
        ["x"],
        r"diagnosis: misses a term",
        {},
    ),
    "a forgotten axis in the bias's sum": Planted(
        (my_linear_forward, my_linear_backward),
        (my_linear_forward, NOT_SUMMED),
        linear_inputs,
        ["bias"],
        r"diagnosis: looks like a missing sum over axis 0",
        {},
    ),
    "dropout that scales only forward": Planted(
        (my_dropout_forward, my_dropout_backward),
        (my_dropout_forward, changed(my_dropout_backward, (" / (1 - p)", ""))),
        rows,
        ["x"],
        r"diagnosis: looks off by a factor: it is 0\.75 ",
        {"p": 0.25},
    ),
    "tied weights counted once": Planted(
        Tied(),
        changed(Tied, ("self.table[ids]", "Tensor(self.table.data)[ids]"))(),
        ids_of_six,
        ["table"],
        r"diagnosis: misses a term.* one of two uses of a tied weight",
        {},
    ),
    "a mask after softmax, in forward and backward": Planted(
        ATTENTION, LATE_MASK, qkv, [], r"the law 'causal.*' is broken", {}, [causal("q", "k", "v")]
    ),
    "a mask after softmax, in backward": Planted(
        ATTENTION,
        (my_attention_forward, changed(my_attention_backward, (MASKED, "softmax(scores) * mask"))),
        qkv,
        ["q", "k", "v"],
        r"diagnosis: looks like .*mask",
        {},
    ),
    "cross-entropy divided by the wrong count": Planted(
        (my_loss_forward, my_loss_backward),
        (my_loss_forward, changed(my_loss_backward, ("/ counted.sum()", "/ len(targets)"))),
        logits_and_targets,
        ["logits"],
        r"diagnosis: looks off by a factor",
        {},
    ),
}
