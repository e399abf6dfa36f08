"""GPTConfig: published sizes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import GPT, GPTConfig, UserError
from minillm.config import PRESETS
from minillm.layers.activations import ACTIVATIONS


# the first four: sizes of OpenAI's released weights; a tied head counted once
@pytest.mark.parametrize(
    ("preset", "n_params"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_parameter_counts_of_gpt2(preset, n_params):
    assert GPTConfig.preset(preset).n_params() == n_params


@pytest.mark.parametrize(
    "config", [GPTConfig.preset(name) for name in PRESETS if not name.startswith("gpt2")], ids=lambda c: str(c.d_model)
)
def test_small_presets_have_the_parameters_that_the_formula_counts(config):
    assert sum(p.size for p in GPT(config).parameters()) == config.n_params()


@st.composite
def configs(draw):
    n_head = draw(st.integers(1, 4))
    return GPTConfig(
        vocab_size=draw(st.integers(1, 20)),
        context_length=draw(st.integers(1, 9)),
        n_layer=draw(st.integers(1, 3)),
        n_head=n_head,
        d_model=n_head * draw(st.integers(1, 5)),
        d_ff=draw(st.none() | st.integers(1, 9)),
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        bias=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )


@given(configs())
def test_model_has_the_parameters_that_the_formula_counts(config):
    model = GPT(config)
    assert model.flat.data.size == sum(p.size for p in model.parameters()) == config.n_params()


@given(configs())
def test_dict_and_json_round_trip(config):
    assert GPTConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_flops_of_gpt2_by_hand():
    # 6 for each parameter outside the position table, and 12 L C T for the two products of attention
    expected = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024
    assert GPTConfig.preset("gpt2").flops_per_token() == expected


def test_defaults_are_gpt2():
    assert GPTConfig() == GPTConfig.preset("gpt2")
    assert GPTConfig().d_ff == 3072
    assert GPTConfig().head_dim == 64


def test_preset_takes_overrides():
    config = GPTConfig.preset("gpt2", n_layer=2, bias=False)
    assert (config.n_layer, config.bias, config.d_model) == (2, False, 768)


def test_every_field_explains_itself():
    assert all(f.metadata["help"] for f in dataclasses.fields(GPTConfig))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 10, "n_head": 4}, r"n_head 4 does not divide d_model 10: choose one of \[1, 2, 5, 10\]"),
        ({"vocab_size": 0}, "vocab_size is 0: give a whole number of at least 1"),
        ({"n_layer": -1}, "n_layer is -1"),
        ({"n_head": 0}, "n_head is 0"),
        ({"context_length": 0}, "context_length is 0"),
        ({"d_ff": 0}, "d_ff is 0"),
        ({"activation": "swish"}, "unknown activation 'swish': choose one of relu, gelu, gelu_tanh"),
        ({"dropout": 1.0}, "dropout is 1.0: give a probability"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"n_heads": 4}, "unknown configuration field 'n_heads': choose from vocab_size, "),
    ],
)
def test_refuses(values, message):
    with pytest.raises(UserError, match=message):
        GPTConfig.from_dict(values)


def test_refuses_an_unknown_preset():
    with pytest.raises(UserError, match="unknown preset 'gpt3': choose one of gpt2, gpt2-medium"):
        GPTConfig.preset("gpt3")


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layer = 1
