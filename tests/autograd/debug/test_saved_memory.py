"""What is saved for backward, against the memory that Python measures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from memory import bytes_left, peak_bytes

from autograd import Op, Tensor, checkpoint, no_grad, use_backend, workspace
from autograd.debug import DebugError, saved_bytes
from autograd.tape import tape
from minillm import GPT, GPTConfig
from minillm.layers import LayerNorm
from minillm.memory import activation_bytes

SHAPES = {
    "small": ({"vocab_size": 65, "context_length": 32, "n_layer": 2, "n_head": 2, "d_model": 64}, 8),
    "wide vocabulary": ({"vocab_size": 2000, "context_length": 16, "n_layer": 1, "n_head": 1, "d_model": 32}, 4),
    "float64, relu, untied": (
        {
            "vocab_size": 31,
            "context_length": 16,
            "n_layer": 2,
            "n_head": 4,
            "d_model": 64,
            "activation": "relu",
            "tie_embeddings": False,
            "dtype": "float64",
        },
        8,
    ),
    "six layers": ({"vocab_size": 65, "context_length": 64, "n_layer": 6, "n_head": 6, "d_model": 96}, 2),
}


def forward(model: GPT, batch_size: int) -> Tensor:
    """The loss of random tokens. The workspace keeps no block that is free."""
    config = model.config
    ids = np.random.default_rng(0).integers(config.vocab_size, size=(batch_size, config.context_length))  # (B, T)
    workspace.clear()
    loss = model.loss(ids, ids)
    workspace.clear()
    return loss


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bytes_add_up_to_those_of_the_arrays_a_forward_pass_leaves_behind(shape: str) -> None:
    options, batch_size = SHAPES[shape]
    model = GPT(GPTConfig(**options))
    forward(model, batch_size)  # makes what is made once
    loss, left = bytes_left(lambda: forward(model, batch_size))
    total = saved_bytes(loss).total
    assert total == pytest.approx(left, rel=0.01)
    assert total == pytest.approx(activation_bytes(model.config, batch_size), rel=0.01)


def test_in_a_model_of_six_layers_they_are_the_peak_within_a_twentieth() -> None:
    options, batch_size = SHAPES["six layers"]
    model = GPT(GPTConfig(**options))
    total = saved_bytes(forward(model, batch_size)).total
    assert total == pytest.approx(peak_bytes(lambda: forward(model, batch_size)), rel=0.05)


@pytest.mark.parametrize("shape", ["small", "six layers"])
def test_blocks_of_compiled_kernels_add_up_too(shape: str) -> None:
    pytest.importorskip("numba")
    options, batch_size = SHAPES[shape]
    with use_backend("numba"):
        model = GPT(GPTConfig(**options))
        forward(model, batch_size)
        loss, left = bytes_left(lambda: forward(model, batch_size))
    assert {str(node.op) for node in tape(loss)} >= {"attention_half", "feed_forward_half", "head_loss"}
    assert saved_bytes(loss).total == pytest.approx(left, rel=0.01)


def test_they_add_up_by_op_and_by_layer() -> None:
    model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=2, n_head=2, d_model=8, dtype="float64"))
    ids = np.zeros((1, 4), int)  # (B, T)
    saved = saved_bytes(model.loss(ids, ids))
    assert sum(saved.by_op.values()) == sum(saved.by_layer.values()) == saved.total
    T, C = 4, 8
    assert saved.by_layer["blocks.1.attn"] == 8 * T * 4 * C  # qkv; its output, which the projection keeps too
    assert saved.by_layer["blocks.1.attn.proj"] == 0
    assert saved.by_layer["blocks.1.ln1"] == 8 * T * (C + 2)  # its input, mean and rstd
    assert saved.leaves == model.flat.data.nbytes
    first = list(saved.by_layer)
    assert first.index("token_embedding") < first.index("blocks.0.ln1") < first.index("ln_f")


def double_forward(x: Any) -> tuple[Any, tuple[Any, ...]]:
    half = x[:, :2] + 0  # (N, 2)
    return 2 * x, (half, half[1:], np.broadcast_to(half[0], (1000, 2)))


def double_backward(dy: Any, *saved: Any) -> tuple[Any]:
    return (2 * dy,)


@pytest.fixture
def double() -> Any:
    op = Op(double_forward, double_backward)
    del Op.registry[op.name]
    return op


def test_views_count_their_owner_once(double: Op) -> None:
    y = double(Tensor(np.zeros((10, 4)), requires_grad=True))
    assert saved_bytes(y).total == 10 * 2 * 8
    assert "saved 160 bytes" in repr(y.node)


def test_a_view_keeps_all_of_its_owner_alive() -> None:
    def first_forward(x: Any) -> Any:
        return 2 * x, ((x + 0)[:1],)

    first = Op(first_forward, double_backward)
    del Op.registry[first.name]
    y = first(Tensor(np.ones((100, 3)), requires_grad=True))
    assert saved_bytes(y).total == 100 * 3 * 8


def test_what_two_nodes_save_counts_for_the_first() -> None:
    x = Tensor(np.ones(100), requires_grad=True)
    e = x.exp()
    saved = saved_bytes((e * e).sum())
    assert saved.by_op == {"exp": 800, "multiply": 0, "reduce_sum": 0}
    assert saved.leaves == 0


def test_inputs_and_frozen_parameters_stand_apart() -> None:
    norm = LayerNorm(8, dtype="float64")
    norm.weight.requires_grad = False
    x = Tensor(np.ones((3, 8)), requires_grad=True)
    saved = saved_bytes(norm(x))
    assert saved.total == 8 * 3 * 2  # mean and rstd
    assert saved.leaves == 8 * (3 * 8 + 8 + 8)


def test_a_checkpointed_stretch_keeps_its_inputs_alone() -> None:
    x = Tensor(np.ones(100), requires_grad=True)
    saved = saved_bytes(checkpoint(lambda e: (e.exp() * e).tanh(), x.exp()))
    assert saved.total == 800
    assert dict(saved.by_op) == {"exp": 800, "checkpoint": 0}


def test_a_freed_graph_says_so() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    y = x.exp().sum()
    y.backward(retain_graph=True)
    assert saved_bytes(y).total == 24
    y.backward()
    with pytest.raises(DebugError, match=r"reduce_sum #\d+.* was freed by backward\(\).*retain_graph=True"):
        saved_bytes(y)


def test_a_tensor_without_a_graph_says_so() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    with no_grad():
        y = x.exp()
    for tensor in (x, y):
        with pytest.raises(DebugError, match="has no graph"):
            saved_bytes(tensor)


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(DebugError, match=r"saved_bytes\(\) was given tuple: give the Tensor whose graph"):
        saved_bytes((1, 2))


def test_the_table_fits_a_terminal_and_its_rows_add_up() -> None:
    options, batch_size = SHAPES["small"]
    model = GPT(GPTConfig(**options))
    ids = np.zeros((batch_size, 32), int)
    saved = saved_bytes(model.loss(ids, ids))
    text = str(saved)
    assert max(map(len, text.splitlines())) <= 100
    by_op = text.split("\n\n")[1]
    rows = [int(n.replace(",", "")) for n in re.findall(r"^\w+ +([\d,]+)  +[\d.]+%$", by_op, re.MULTILINE)]
    assert sum(rows) == saved.total
    assert f"{saved.total:,} bytes by {len(saved.nodes)} nodes" in text
