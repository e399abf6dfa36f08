"""`minillm info`: published parameter counts, and its formulas against a model that exists."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograd.debug import saved_bytes
from minillm import GPT, GPTConfig
from minillm.cli.main import main
from minillm.config import PRESETS
from minillm.memory import activation_bytes, training_bytes


@st.composite
def configs(draw: st.DrawFn) -> GPTConfig:
    n_head = draw(st.integers(1, 3))
    return GPTConfig(
        vocab_size=draw(st.integers(2, 40)),
        context_length=draw(st.integers(2, 12)),
        n_layer=draw(st.integers(1, 3)),
        n_head=n_head,
        d_model=n_head * draw(st.integers(1, 6)),
        d_ff=draw(st.none() | st.integers(1, 30)),
        activation=draw(st.sampled_from(["relu", "gelu", "gelu_tanh"])),
        dropout=draw(st.sampled_from([0.0, 0.1])),
        bias=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )


@given(configs(), st.integers(1, 4))
@settings(max_examples=60)
def test_activation_bytes_are_what_hangs_on_the_tape(config: GPTConfig, batch_size: int) -> None:
    model = GPT(config)
    ids = np.random.default_rng(0).integers(config.vocab_size, size=(batch_size, config.context_length))
    _, loss = model(ids, ids)
    assert loss is not None
    assert activation_bytes(config, batch_size) == pytest.approx(saved_bytes(loss).total, rel=0.01)


@given(configs())
def test_parts_add_up_to_the_parameters_of_the_model(config: GPTConfig) -> None:
    parts, model = config.params_by_part(), GPT(config)
    assert sum(parts.values()) == config.n_params() == model.flat.data.size
    named = {path: p.size for path, p in model.named_parameters()}
    for part, path in (("attention", ".attn."), ("feed-forward", ".mlp."), ("norms", "ln"), ("head", "head.")):
        assert parts[part] == sum(size for name, size in named.items() if path in name), part


def test_training_holds_weights_gradients_and_two_moments() -> None:
    sizes = training_bytes(GPTConfig.preset("gpt2"), 1)
    weights = 4 * 124_439_808
    assert {name: sizes[name] for name in ("weights", "gradients", "AdamW")} == {
        "weights": weights,
        "gradients": weights,
        "AdamW": 2 * weights,
    }


@pytest.mark.parametrize(
    ("preset", "n_params"),  # OpenAI's released weights, position embeddings counted
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_published_parameter_counts(preset: str, n_params: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", preset, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"]["total"] == n_params
    assert facts["configuration"]["n_layer"] == PRESETS[preset]["n_layer"]


def test_json_facts_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "gpt2", "--json", "--batch-size", "1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    memory = facts["training_bytes"]
    assert memory["total"] == sum(memory[part] for part in ("weights", "gradients", "AdamW", "activations"))
    # 6 N + 12 L C T with N = 124,439,808 - 1024 * 768: PaLM's appendix B
    assert facts["flops_per_token"]["training"] == 6 * 123_653_376 + 12 * 12 * 768 * 1024
    assert facts["flops_per_token"]["forward"] * 3 == facts["flops_per_token"]["training"]


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "gpt2"]) == 0
    captured = capsys.readouterr()
    lines = {tuple(line.split()) for line in captured.out.splitlines()}
    assert ("total", "124,439,808") in lines
    assert ("bias", "True") in lines
    assert ("weights", "497,759,232", "0.464", "GiB") in lines
    assert captured.err == ""


def test_a_saved_model(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (saved_model, saved_model / "model.safetensors"):
        assert main(["info", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["configuration"]["context_length"] == 8
