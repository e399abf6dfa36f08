"""Parameters: their names, and the two flat buffers that they are views of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memory import bytes_left, peak_bytes

from autograd import Tensor, no_grad
from minillm import GPT, GPTConfig
from minillm.layers import LayerNorm
from minillm.module import FlatParameters, Module, Parameter
from minillm.optim import AdamW

CONFIG = GPTConfig(vocab_size=7, context_length=5, n_layer=2, n_head=2, d_model=4)


@pytest.fixture
def model():
    return GPT(CONFIG)


def test_names_are_paths(model):
    assert [name for name, _ in model.named_parameters()] == [
        "token_embedding.weight",
        "position_embedding.weight",
        *(
            f"blocks.{i}.{name}"
            for i in range(2)
            for name in (
                "ln1.weight",
                "ln1.bias",
                "attn.qkv.weight",
                "attn.qkv.bias",
                "attn.proj.weight",
                "attn.proj.bias",
                "ln2.weight",
                "ln2.bias",
                "mlp.fc.weight",
                "mlp.fc.bias",
                "mlp.proj.weight",
                "mlp.proj.bias",
            )
        ),
        "ln_f.weight",
        "ln_f.bias",
    ]


def test_a_name_leads_to_its_parameter(model):
    named = dict(model.named_parameters())
    assert named["blocks.1.attn.qkv.weight"] is model.blocks[1].attn.qkv.weight
    assert named["ln_f.bias"] is model.ln_f.bias


def test_parameters_are_views_that_tile_the_flat_buffers(model):
    flat = model.flat
    covered = np.zeros(flat.data.size, int)
    for p in model.parameters():
        assert np.shares_memory(p.data, flat.data)
        assert np.shares_memory(p.grad, flat.grad)
        place = slice(p.offset, p.offset + p.size)
        np.testing.assert_array_equal(flat.data[place], p.data.ravel())
        covered[place] += 1
    assert (covered == 1).all()


def test_weights_come_first_then_embeddings_then_vectors(model):
    order = ["weight", "embedding", "vector"]
    by_offset = sorted(model.parameters(), key=lambda p: p.offset)
    ranks = [order.index(p.role) for p in by_offset]
    assert ranks == sorted(ranks)
    assert {p.role for p in by_offset} == set(order)


def test_assigning_data_and_grad_writes_into_the_buffers(model):
    p = model.blocks[1].attn.qkv.weight
    place = slice(p.offset, p.offset + p.size)
    p.data = np.full(p.shape, 3.0)
    p.grad = np.full(p.shape, 4.0)
    p.grad += 1
    assert (model.flat.data[place] == 3).all()
    assert (model.flat.grad[place] == 5).all()
    assert (np.delete(model.flat.grad, place) == 0).all()
    p.grad = None
    assert (model.flat.grad == 0).all()


def test_assigning_another_shape_raises_and_changes_nothing(model):
    p = model.ln_f.weight
    with pytest.raises(ValueError, match="broadcast"):
        p.data = np.zeros(p.size + 1)
    assert (p.data == 1).all()


def test_backward_writes_into_the_flat_gradient_and_zero_grad_clears_it(model):
    ids = np.arange(5)[None]
    model(ids, ids)[1].backward()
    assert all(np.abs(p.grad).max() > 0 for name, p in model.named_parameters())
    assert all(np.shares_memory(p.grad, model.flat.grad) for p in model.parameters())
    model.zero_grad()
    assert (model.flat.grad == 0).all()


def backward(model):
    ids = np.arange(5)[None]
    model(ids, ids)[1].backward()


def test_zero_grad_touches_no_memory_and_the_next_gradient_is_not_added_to_what_is_there(model):
    backward(model)
    first = model.flat.grad.copy()
    model.zero_grad()
    np.testing.assert_array_equal(model.flat._grad, first)  # nobody could see it
    assert not model.ln_f.weight.grad.any()
    backward(model)
    np.testing.assert_array_equal(model.flat.grad, first)
    backward(model)
    assert np.linalg.norm(model.flat.grad - 2 * first) < 1e-5 * np.linalg.norm(first)  # float32, in another order


def test_a_gradient_that_someone_holds_is_zero_at_once_and_can_be_written_to(model):
    p = model.ln_f.weight
    backward(model)
    for held in (p.grad, model.flat.grad[p.offset : p.offset + p.size], p.grad[1:]):
        assert held.any()
        model.zero_grad()
        assert not held.any()
        held[...] = 5
        assert (p.grad[-held.size :] == 5).all()
        model.zero_grad()
        backward(model)
        np.testing.assert_array_equal(p.grad[-held.size :], held)


def test_gradients_that_backward_does_not_reach_are_zero(model):
    backward(model)
    model.zero_grad()
    model.ln_f(Tensor(np.ones((1, 4), np.float32))).backward(np.ones((1, 4), np.float32))
    assert model.ln_f.bias.grad.all()
    assert not model.blocks[0].ln1.weight.grad.any()
    reached = sum(p.size for p in model.ln_f.parameters())
    assert 0 < np.count_nonzero(model.flat.grad) <= reached


def test_zero_grad_of_a_part_leaves_the_rest(model):
    backward(model)
    before = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.blocks[0].zero_grad()
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, 0 if name.startswith("blocks.0") else before[name])


def test_zero_grad_of_an_optimizer_is_that_of_its_parameters(model):
    backward(model)
    AdamW(model.blocks[0]).zero_grad()
    assert not any(p.grad.any() for p in model.blocks[0].parameters())
    assert model.ln_f.bias.grad.all()


def test_a_parameter_alone_keeps_its_array_and_one_without_a_gradient_stays_so():
    layer = LayerNorm(2, bias=True, eps=1e-5, dtype="float64")
    held = layer.weight.grad = np.ones(2)
    layer.zero_grad()
    np.testing.assert_array_equal(held, 0)
    assert layer.weight.grad is held
    assert layer.bias.grad is None


def test_a_model_that_is_not_trained_has_no_memory_for_gradients():
    config = GPTConfig(vocab_size=1000, context_length=5, n_layer=2, n_head=2, d_model=64, dtype="float32")

    def make() -> GPT:
        model = GPT(config)
        with no_grad():
            model(np.arange(5)[None])
        return model

    model, held = bytes_left(make)
    assert held < 1.2 * model.flat.data.nbytes
    assert peak_bytes(make) < 2.2 * model.flat.data.nbytes  # the layers' own arrays, until they lie in the buffer


PEAK = """
from pathlib import Path
from minillm import GPT, GPTConfig

def resident(field):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].removesuffix("kB")) * 1024

before = resident("VmRSS")
model = GPT(GPTConfig(vocab_size=1000, context_length=8, n_layer=12, n_head=2, d_model=256))
print((resident("VmHWM") - before) / model.flat.data.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process as Linux tells it")
def test_a_model_that_is_made_is_never_there_twice():
    shares = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    assert 1 <= float(shares) < 1.4


def test_an_attribute_that_no_parameter_has_is_named(model):
    with pytest.raises(AttributeError, match="'gard'"):
        model.ln_f.weight.gard  # noqa: B018  it is read


def test_a_shared_parameter_is_counted_once():
    class Shared(Module):
        def __init__(self):
            self.a = Parameter(np.ones(3), "vector")
            self.b = self.a

    shared = Shared()
    assert [name for name, _ in shared.named_parameters()] == ["a"]
    assert shared.flatten().data.size == 3


def test_parameters_of_two_dtypes_cannot_share_a_buffer():
    parameters = [Parameter(np.ones(2, np.float32), "vector"), Parameter(np.ones(2), "vector")]
    with pytest.raises(TypeError, match="cannot share one buffer: use one dtype"):
        FlatParameters(parameters)


def test_train_and_eval_reach_every_layer(model):
    model.eval()
    assert not any(module.training for _, module in model.named_modules())
    model.train()
    assert all(module.training for _, module in model.named_modules())
    paths = [path for path, _ in model.named_modules()]
    assert {"", "token_embedding", "dropout", "blocks.0", "blocks.1.attn", "blocks.1.dropout", "ln_f"} <= set(paths)
    assert len(paths) == 1 + 2 + 1 + 2 * 10 + 1  # model, embeddings, dropout, ten in each block, ln_f


def test_a_model_within_another_is_not_flattened_again() -> None:
    model = GPT(GPTConfig.preset("nano"))
    with pytest.raises(ValueError, match=r"^parameter blocks\.0\.attn\.qkv\.weight lies in a buffer already: flatten"):
        model.flatten()
    assert model.flat.parameters[0].flat is model.flat
