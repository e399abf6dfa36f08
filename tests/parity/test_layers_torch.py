"""Each layer's forward and backward against PyTorch's, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import packed

from autograd import Tensor
from autograd.ops import softmax
from minillm.layers.activations import gelu, gelu_tanh, relu
from minillm.layers.attention import attention
from minillm.layers.cross_entropy import cross_entropy
from minillm.layers.embedding import embedding
from minillm.layers.layernorm import layernorm
from minillm.layers.linear import linear

torch = pytest.importorskip("torch", reason="PyTorch is an optional peer")
F = torch.nn.functional


def assert_same(ours: Any, theirs: Any, *arrays: Any) -> None:
    """Values and gradients of `ours` on Tensors and `theirs` on torch tensors, both made from `arrays`."""
    leaves = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, peer = ours(*leaves), theirs(*peers)
    np.testing.assert_allclose(y.data, peer.detach().numpy(), rtol=1e-12, atol=1e-13)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape))
    y.backward(dy)
    peer.backward(torch.tensor(dy))
    for leaf, twin in zip(leaves, peers, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(leaf.grad, twin.grad.numpy(), rtol=1e-11, atol=1e-12)


def normal(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def test_linear() -> None:
    assert_same(linear, F.linear, *normal((2, 5, 3), (4, 3), (4,)))


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layernorm(eps: float) -> None:
    arrays = normal((2, 5, 7), (7,), (7,))
    assert_same(
        lambda x, w, b: layernorm(x, w, b, eps=eps), lambda x, w, b: F.layer_norm(x, (7,), w, b, eps=eps), *arrays
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (relu, F.relu),
        (gelu, F.gelu),
        (gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
        (softmax, lambda x: F.softmax(x, -1)),
    ],
    ids=["relu", "gelu", "gelu_tanh", "softmax"],
)
def test_activations(ours: Any, theirs: Any) -> None:
    x = 3 * normal((50, 4))[0]
    x[0, 0] = 0  # relu's kink: PyTorch takes 0 there
    assert_same(ours, theirs, x)


def test_embedding() -> None:
    ids = np.array([[1, 1, 4], [0, 1, 4]])
    assert_same(lambda w: embedding(ids, w), lambda w: F.embedding(torch.tensor(ids), w), *normal((6, 3)))


@pytest.mark.parametrize("mask", ["causal", "padding", "packed", "none"])
def test_attention(mask: str) -> None:
    B, T, H, D = 3, 5, 2, 4
    visible = np.ones((B, T), bool)
    if mask == "padding":
        visible[1, 3:] = visible[2, 1] = False
    if mask == "packed":
        visible = packed([0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 2, 2, 3])  # (B, T, T)
    allowed = torch.tensor(visible)[:, None] if mask == "packed" else torch.tensor(visible)[:, None, None]
    if mask != "none":
        allowed = allowed & torch.ones(T, T, dtype=torch.bool).tril()  # (B, 1, T, T)

    def theirs(qkv: Any) -> Any:
        q, k, v = (part.reshape(B, T, H, D).transpose(1, 2) for part in qkv.split(H * D, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return y.transpose(1, 2).reshape(B, T, H * D)

    assert_same(
        lambda qkv: attention(qkv, visible, n_head=H, causal=mask != "none"), theirs, *normal((B, T, 3 * H * D))
    )


def test_cross_entropy_leaves_out_the_ignore_index() -> None:
    targets = np.array([[1, -1, 6], [0, 6, -1]])
    assert_same(
        lambda x: cross_entropy(x, targets),
        lambda x: F.cross_entropy(x.reshape(-1, 7), torch.tensor(targets).reshape(-1), ignore_index=-1),
        5 * normal((2, 3, 7))[0],
    )


def test_cross_entropy_weighs_tokens() -> None:
    targets, weights = np.array([1, -1, 6, 0]), np.array([0.5, 2, 0, 3])

    def theirs(x: Any) -> Any:
        losses = F.cross_entropy(x, torch.tensor(targets), ignore_index=-1, reduction="none")
        return (losses * torch.tensor(weights)).sum() / 3.5  # the ignored token's weight does not count

    assert_same(lambda x: cross_entropy(x, targets, weights), theirs, *normal((4, 7)))
