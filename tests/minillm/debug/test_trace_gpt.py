"""trace of a GPT: its names, both ways of computing it by the same names, and the bound on memory that it states."""

import re
import tracemalloc

import numpy as np
import pytest

from autograd import compose, modes
from autograd.debug import DebugError, trace
from minillm import GPT, GPTConfig
from minillm.layers.attention import attention_probs


@pytest.fixture
def model():
    return GPT(GPTConfig(vocab_size=13, context_length=8, n_layer=2, n_head=2, d_model=16, dtype="float64"))


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(0, 13, (2, 8))


def run(model, ids, composed=False, **options):
    model.zero_grad()
    with compose(composed), trace(model, **options) as t:
        _, loss = model(ids, ids)
        loss.backward()
    return t


def test_names_of_a_block_are_its_layers_their_parameters_ops_and_the_locals_of_attention(model, ids):
    t = run(model, ids)
    assert {name.removeprefix("blocks.1.") for name in t if name.startswith("blocks.1.") and "mlp" not in name} == {
        *("ln1", "ln1.weight", "ln1.bias", "ln1.mean", "ln1.xc", "ln1.rstd"),
        *("ln1.xhat", "ln1.through_mean", "ln1.through_rstd"),
        *("attn", "attn.qkv", "attn.qkv.weight", "attn.qkv.bias", "attn.proj", "attn.proj.weight", "attn.proj.bias"),
        *("attn.attention", "attn.q", "attn.k", "attn.v", "attn.probs", "attn.kept", "attn.scores", "add"),
        *("ln2", "ln2.weight", "ln2.bias", "ln2.mean", "ln2.xc", "ln2.rstd"),
        *("ln2.xhat", "ln2.through_mean", "ln2.through_rstd"),
    }
    assert {"blocks.1", "blocks.1.mlp", "token_embedding", "position_embedding", "ln_f", "logits", "loss"} < set(t)


def test_what_it_shows_is_what_the_model_computed(model, ids):
    t = run(model, ids, arrays=True)
    q, k = t["blocks.0.attn.q"].value, t["blocks.0.attn.k"].value
    assert q.shape == (2, 2, 8, 8)
    np.testing.assert_array_equal(t["blocks.0.attn.probs"].value, attention_probs(q, k, None, True))
    np.testing.assert_array_equal(t["blocks.1"].value, t["blocks.1.add"].value + t["blocks.1.mlp"].value)
    np.testing.assert_array_equal(t["blocks.0.attn.qkv.bias"].grad, t["blocks.0.attn.qkv"].grad.sum((0, 1)))
    np.testing.assert_allclose(t["logits"].grad.sum(-1), 0, atol=1e-15)
    assert t["blocks.0.attn.q"].where == t["blocks.0.attn.q"].where
    assert re.fullmatch(r"attention_forward, reference\.py:\d+", t["blocks.0.attn.q"].where)
    assert re.fullmatch(r"dq of attention_backward, reference\.py:\d+", t["blocks.0.attn.q"].grad_where)


def test_hand_written_and_composed_agree_in_every_name_that_both_have(model, ids):
    ours, theirs = run(model, ids, arrays=True), run(model, ids, composed=True, arrays=True)
    both = [name for name in ours if name in theirs]
    assert len(both) >= 90
    for name in both:
        for part in ("value", "grad"):
            a, b = getattr(ours[name], part), getattr(theirs[name], part)
            if (
                a is not None and b is not None and not name.endswith(".qkv.bias")
            ):  # of keys it is zero but for rounding
                np.testing.assert_allclose(a.ravel(), b.ravel(), rtol=1e-6, atol=1e-12, err_msg=f"{name} {part}")


def test_a_gradient_by_name_is_the_derivative_of_the_loss(model, ids):
    """The first value of the first block's output moved a little, with what is above it run again."""
    t = run(model, ids, arrays=True)
    x, grad = t["blocks.0"].value, t["blocks.0"].grad

    def loss_of(value):
        block, model.blocks[0] = model.blocks[0], lambda x, mask: type(x)(value)
        try:
            return float(model(ids, ids)[1].data)
        finally:
            model.blocks[0] = block

    direction = np.random.default_rng(1).normal(size=x.shape)
    slope = (loss_of(x + 1e-5 * direction) - loss_of(x - 1e-5 * direction)) / 2e-5
    assert slope == pytest.approx((grad * direction).sum(), rel=1e-6)


def test_a_typing_error_in_a_path_gives_the_nearest(model, ids):
    t = run(model, ids)
    with pytest.raises(DebugError, match=r"no value 'blocks\.0\.attn\.qq' .*did you mean 'blocks\.0\.attn\.q'"):
        t["blocks.0.attn.qq"]


def test_only_arrays_asked_for_are_kept(model, ids):
    t = run(model, ids, arrays=["blocks.0.attn.[qkv]"])
    assert t._store.in_memory == sum(
        part.nbytes for name in "qkv" for part in (t[f"blocks.0.attn.{name}"].value, t[f"blocks.0.attn.{name}"].grad)
    )


@pytest.mark.parametrize("arrays", [False, True])
def test_memory_of_a_trace_of_6_layers_of_width_384_stays_under_the_stated_bound(arrays):
    """At most `memory`, the largest single array, 2 MB, and 2 KB a name, beyond the same step without a trace."""
    model = GPT(GPTConfig(vocab_size=65, context_length=32, n_layer=6, n_head=6, d_model=384))
    ids, memory = np.random.default_rng(0).integers(0, 65, (2, 32)), 2 << 20

    def peak(watching):
        model.zero_grad()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with watching as t:
            _, loss = model(ids, ids)
            loss.backward()
        return tracemalloc.get_traced_memory()[1] - before, t

    tracemalloc.start()
    try:
        peak(modes.observe(lambda *_: None))  # the gradients are there from now on
        plain, _ = peak(modes.observe(lambda *_: None))
        traced, t = peak(trace(model, arrays=arrays, memory=memory))
    finally:
        tracemalloc.stop()
    largest = max(np.prod(t[name].summary.shape) * 4 for name in t if t[name].summary and "." in name)
    assert traced - plain <= memory * arrays + largest + (2 << 20) + len(t) * 2048
    assert t._store.in_memory <= memory
    assert (t._store.on_disk > 4 * memory) == arrays
