"""A session: real text through a small model, every value and gradient of it, step by step, on and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autograd import use_backend
from autograd.debug import DebugError
from autograd.debug.step import Step
from minillm import GPT, GPTConfig, UserError
from minillm.data.corpus import read_corpus
from minillm.debug import Session
from minillm.layers.attention import attention_probs, split_heads
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer
from minillm.tokenizer.special import END_OF_TEXT
from minillm.weights import save_model

CONFIG = GPTConfig(vocab_size=256, context_length=12, n_layer=2, n_head=2, d_model=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("To be, or not to be,\nthat is\tthe question:\nWhether 'tis nobler in the mind\n" * 5, "utf-8")
    return [str(file)]


@pytest.fixture
def session(data: list[str]) -> Session:
    return Session.from_text(config=CONFIG, data=data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tokenizer = CharTokenizer.train("abcdefgh \n")
    config = GPTConfig(vocab_size=tokenizer.vocab_size, context_length=6, n_layer=1, n_head=1, d_model=8, dropout=0.5)
    save_model(tmp_path / "model.safetensors", GPT(config, seed=3), tokenizer)
    return tmp_path


def gradients(session: Session) -> dict[str, np.ndarray | None]:
    return {
        name: None if (grad := p.gradient_set()) is None else grad.copy()
        for name, p in session.model.named_parameters()
    }


def assert_equal_gradients(a: dict[str, np.ndarray | None], b: dict[str, np.ndarray | None]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name] is None) == (b[name] is None), name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_it_begins_with_real_text_and_each_position_is_to_predict_the_next(session: Session, data: list[str]) -> None:
    text = Path(data[0]).read_text("utf-8")
    piece = ByteTokenizer().decode(session.ids[0])
    assert piece in text
    assert piece == text[: len(piece)] or "\n" + piece in text  # from the start of a line on
    assert session.ids.shape == session.targets.shape == (1, 12)
    np.testing.assert_array_equal(session.targets[0, :-1], session.ids[0, 1:])
    assert "not trained" in session.title


def test_wherever_in_the_text_it_begins_the_context_is_full(tmp_path: Path) -> None:
    (tmp_path / "short lines.txt").write_text("ab\n" * 6)  # 18 characters, 13 of which are taken
    sessions = [Session.from_text(config=CONFIG, data=[str(tmp_path)], seed=seed) for seed in range(10)]
    assert {ByteTokenizer().decode(session.ids[0]) for session in sessions} == {"ab\n" * 4}


def test_left_to_its_defaults_it_is_a_small_model_on_the_standard_library() -> None:
    session = Session.from_text()
    assert ByteTokenizer().decode(session.ids[0]) in read_corpus().text
    assert session.ids.shape[1] == len(session.tokens) == session.model.config.context_length <= 24
    assert session.model.config.n_params() < 50_000


def test_each_part_is_a_node_of_its_own_also_where_kernels_are_on(data: list[str]) -> None:
    with use_backend("numba"):
        session = Session.from_text(config=CONFIG, data=data)
    assert [f"{node.layer}:{node.op}" for node in session.nodes] == [
        "(GPT):cross_entropy",
        "(GPT):linear",
        "ln_f:layernorm",
        *(
            f"blocks.{i}{part}"
            for i in (1, 0)
            for part in (
                ":add",
                ".mlp.proj:linear",
                ".mlp:gelu_tanh",
                ".mlp.fc:linear",
                ".ln2:layernorm",
                ":add",
                ".attn.proj:linear",
                ".attn:attention",
                ".attn.qkv:linear",
                ".ln1:layernorm",
            )
        ),
        "(GPT):add",
        "position_embedding:embedding",
        "token_embedding:embedding",
    ]
    assert all(node.backward is node.op.backward.reference for node in session.nodes)


def test_walked_to_its_end_it_has_the_gradients_of_backward(session: Session) -> None:
    for _ in session.steps:
        pass
    stepped = gradients(session)
    session.model.zero_grad()
    _, loss = session.model(session.ids, session.targets)
    loss.backward()
    assert_equal_gradients(stepped, gradients(session))


def test_gradients_of_earlier_passes_are_set_to_zero(session: Session) -> None:
    for _ in session.steps:
        pass
    again = Session(session.model, session.ids, session.targets, session.tokenizer, "again")
    assert not again.model.flat.grad.any()


def test_a_stop_is_the_same_from_wherever_it_is_gone_to(session: Session) -> None:
    n = len(session.nodes)
    at: list[dict[str, np.ndarray | None]] = []
    for i in range(n):
        step = session.stop(i)
        assert (step.index, step.node) == (i, session.nodes[i])
        assert session.steps.step is step
        at.append(gradients(session))
    assert at[0]["ln_f.weight"] is None
    assert at[n - 1]["ln_f.weight"] is not None
    for i in (3, n - 1, 0, 0, 7, 6):
        assert session.stop(i).index == i
        assert_equal_gradients(gradients(session), at[i])
    assert session.steps.run() is None  # to the end
    assert session.stop(5).index == 5
    assert_equal_gradients(gradients(session), at[5])


def test_an_edited_gradient_flows_on_from_a_stop(session: Session) -> None:
    session.stop(2).dxs[0][...] = 0  # of ln_f: nothing reaches the blocks
    last = session.stop(len(session.nodes) - 1)
    assert not last.dxs[1].any()
    assert session.model.ln_f.weight.grad.any()


@pytest.mark.parametrize("i", [-1, 26, 1000, 1.5, "last"])
def test_a_step_that_is_not_there_is_refused_where_it_stands(session: Session, i: object) -> None:
    session.stop(4)
    assert len(session.nodes) == 26
    with pytest.raises(DebugError, match=f"there is no step {i} in this backward pass: choose one of 0 to 25$"):
        session.stop(i)
    assert session.steps.step.index == 4


def test_where_an_edit_cut_off_the_tape_the_last_step_is_named(session: Session) -> None:
    session.stop(2).dxs[0] = None
    with pytest.raises(DebugError, match=r"there is no step 9 in this backward pass: choose one of 0 to 2$"):
        session.stop(9)
    assert session.stop(1).index == 1


def test_from_a_step_whose_backward_fails_the_way_back_is_open(session: Session) -> None:
    def fails(dy: np.ndarray, *saved: object) -> None:
        raise ZeroDivisionError

    session.nodes[3].backward = fails
    with pytest.raises(ZeroDivisionError):
        session.stop(5)
    assert session.stop(1).index == 1


def test_value_is_what_each_op_returned(session: Session) -> None:
    logits = session.nodes[1]
    np.testing.assert_array_equal(session.value(session.nodes[0]), session.loss.data)
    np.testing.assert_array_equal(session.value(logits), session.logits.data)
    assert all(session.value(node).shape == node.shape for node in session.nodes)
    other = GPT(CONFIG)(session.ids)[0].node
    with pytest.raises(DebugError, match="was not recorded by these calls"):
        session.value(other)


def test_check_and_source_are_of_the_node(session: Session) -> None:
    node = session.nodes[2]
    check = session.check(node)
    assert check.passed
    assert list(check.gradients) == ["x", "weight", "bias"]
    assert session.source(node).file == "minillm/layers/layernorm.py"


def test_a_check_at_a_stop_changes_no_gradient(session: Session) -> None:
    step = session.stop(8)
    before = gradients(session)
    session.check(step.node)
    session.gradient_flow()
    assert_equal_gradients(gradients(session), before)
    assert session.steps.step is step


def test_tokens_hide_nothing() -> None:
    ids = ByteTokenizer().encode("a b\n\té")[None]
    session = Session(GPT(CONFIG), ids[:, :-1], ids[:, 1:], ByteTokenizer(), "test")
    assert session.tokens == ["a", "␣", "b", "\\n", "\\t", "\\xc3"]


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_maps_are_of_the_layer_s_queries_and_keys(session: Session, layer: int) -> None:
    maps = session.attention_maps(layer)
    block = session.model.blocks[layer]
    (qkv,) = [session.value(node) for node in session.nodes if node.layer == f"blocks.{layer}.attn.qkv"]
    q, k, _ = split_heads(qkv, block.attn.n_head)
    np.testing.assert_array_equal(maps, attention_probs(q, k, None, True)[0])
    assert maps.shape == (2, 12, 12)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-6)
    assert not np.triu(maps, 1).any()


@pytest.mark.parametrize("layer", [-1, 2, 0.5])
def test_attention_maps_of_a_layer_that_is_not_there_are_refused(session: Session, layer: object) -> None:
    with pytest.raises(DebugError, match=f"there is no attention in a layer {layer}: choose one of 0 to 1$"):
        session.attention_maps(layer)


def test_gradient_flow_has_the_norms_of_the_whole_pass_in_forward_order(session: Session) -> None:
    flow = session.gradient_flow()
    dys: dict[str, float] = {}
    steps: list[Step] = []
    for step in session.steps:
        steps.append(step)
        dys[step.node.layer] = dys.get(step.node.layer, float(np.linalg.norm(step.dy)))  # of the newest node
    by_layer = {layer.layer: layer for layer in flow}
    block = ["ln1", "attn.qkv", "attn.proj", "attn", "ln2", "mlp.fc", "mlp.proj", "mlp"]
    assert list(by_layer) == [
        "token_embedding",
        "position_embedding",
        *(path for i in (0, 1) for path in [*(f"blocks.{i}.{part}" for part in block), f"blocks.{i}"]),
        "ln_f",
        "(GPT)",
    ]
    for path in ("blocks.1", "blocks.0.attn.qkv", "ln_f", "token_embedding"):
        assert by_layer[path].output_norm == pytest.approx(dys[path], rel=1e-6)
    assert by_layer["blocks.0.attn"].output_norm == by_layer["blocks.0.attn.proj"].output_norm
    norm = np.linalg.norm(session.model.flat.grad)
    assert by_layer["(GPT)"] == ("(GPT)", 1.0, pytest.approx(norm, rel=1e-6))
    mlp = session.model.blocks[1].mlp
    expected = np.sqrt(sum((p.grad.astype(float) ** 2).sum() for p in mlp.parameters()))
    assert by_layer["blocks.1.mlp"].parameter_norm == pytest.approx(expected, rel=1e-6)


def test_gradient_flow_is_the_same_wherever_the_steps_stand_and_whatever_was_edited(session: Session) -> None:
    before = session.gradient_flow()
    session.stop(2).dxs[0][...] = 0
    session.stop(20)
    assert session.gradient_flow() == before


def test_dropout_of_a_training_model_draws_the_same_in_each_session(data: list[str]) -> None:
    config = GPTConfig(vocab_size=256, context_length=12, n_layer=1, n_head=1, d_model=16, dropout=0.5)
    losses = {Session.from_text(config=config, data=data).loss.item() for _ in range(2)}
    assert len(losses) == 1
    assert "dropout" in {str(node.op) for node in Session.from_text(config=config, data=data).nodes}


def test_a_run_and_a_prompt_give_its_tokens_and_the_trained_weights(run: Path) -> None:
    session = Session.from_run(run, "a bad h")
    assert session.tokens == ["a", "␣", "b", "a", "d", "␣"]
    assert session.tokenizer.decode(session.targets[0]) == " bad h"
    assert session.model.config.n_layer == 1
    assert "dropout" not in {str(node.op) for node in session.nodes}
    np.testing.assert_array_equal(
        session.model.token_embedding.weight.data, GPT(session.model.config, seed=3).token_embedding.weight.data
    )


def test_a_prompt_may_have_special_tokens(tmp_path: Path) -> None:
    tokenizer = BPETokenizer.train("a b", vocab_size=257, special_tokens=[END_OF_TEXT])
    config = GPTConfig(vocab_size=257, context_length=6, n_layer=1, n_head=1, d_model=8)
    save_model(tmp_path / "model.safetensors", GPT(config), tokenizer)
    assert Session.from_run(tmp_path, f"a{END_OF_TEXT}b").tokens == ["a", END_OF_TEXT]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt has 0 tokens: give 2 to 7, since each is predicted from those before it"),
        ("a", "the prompt has 1 token: give 2 to 7"),
        ("abcdefgh", "the prompt has 8 tokens: give 2 to 7, .* in a context of 6$"),
        ("xyz", "'x'"),
    ],
)
def test_a_prompt_that_cannot_be_shown_is_refused(run: Path, prompt: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Session.from_run(run, prompt)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model at"):
        Session.from_run(tmp_path, "hello")


def test_a_model_of_another_vocabulary_than_bytes_is_refused(data: list[str]) -> None:
    with pytest.raises(UserError, match=r"a vocabulary of 65 and the text is bytes: give .* vocab_size=256"):
        Session.from_text(config=GPTConfig.preset("shakespeare-char"), data=data)


def test_a_short_text_is_taken_whole_and_one_of_a_single_byte_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("hello")
    assert Session.from_text(config=CONFIG, data=[str(file)]).tokens == list("hell")
    file.write_text("h")
    with pytest.raises(UserError, match="the text has 1 token: give at least 2"):
        Session.from_text(config=CONFIG, data=[str(file)])
