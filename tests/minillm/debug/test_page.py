"""The page's file: it asks for nothing else, its numbers are the session's, and no text of a user's breaks it."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autograd import Tensor
from autograd.backends import Array
from autograd.checkpoint import checkpoint
from autograd.debug.picture import picture
from minillm import GPT, GPTConfig, UserError
from minillm.debug import Session
from minillm.debug.page import write_page
from minillm.debug.page.highlight import highlight
from minillm.debug.page.report import report
from minillm.model import Block
from minillm.module import Module
from minillm.tokenizer import ByteTokenizer

CONFIG = GPTConfig(vocab_size=256, context_length=12, n_layer=2, n_head=2, d_model=16)
SMALL = GPTConfig(vocab_size=256, context_length=12, n_layer=1, n_head=1, d_model=8)
IDS = np.frombuffer(b"To be, or not", np.uint8).astype(np.int64)


def session(title: str = "a page", tokenizer: ByteTokenizer | None = None, model: GPT | None = None) -> Session:
    model = model or GPT(SMALL, seed=1)
    return Session(model, IDS[None, :-1], IDS[None, 1:], tokenizer or ByteTokenizer(), title)


def large() -> Session:
    return session(model=GPT(CONFIG, seed=1))


def data_of(file: Path) -> Any:
    text = file.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def values(shown: dict[str, Any]) -> Array:
    halves = np.frombuffer(base64.b64decode(shown["cells"]), "<f2").astype(np.float64)
    return halves.reshape(shown["rows"], shown["columns"]) * shown["scale"]


def assert_shows(shown: dict[str, Any], array: Array) -> None:
    """The cells are the array's to three digits; where it is small enough, that is every number of it."""
    cells = picture(array).cells
    np.testing.assert_allclose(values(shown), cells, rtol=6e-4, atol=1e-7 * shown["scale"])
    if shown["whole"]:
        np.testing.assert_allclose(values(shown).reshape(array.shape), array, rtol=6e-4, atol=1e-7 * shown["scale"])
    assert tuple(shown["shape"]) == array.shape
    assert shown["norm"] == pytest.approx(np.linalg.norm(array.astype(np.float64).ravel()))
    assert sum(shown["bins"]) == np.isfinite(array).sum()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(large(), file)
    return file


def test_every_step_has_its_own_gradients_saved_arrays_and_value(file: Path) -> None:
    data, live = data_of(file), large()
    assert len(data["steps"]) == len(live.nodes)
    for shown, step in zip(data["steps"], live.steps, strict=True):
        node = data["nodes"][shown["node"]]
        assert (node["op"], node["layer"]) == (str(step.node.op), step.node.layer)
        arguments = {name: x for name, x in step.arguments.items() if hasattr(x, "dtype")}
        pictures = {name: data["pictures"][place] for name, place in shown["dy"] + shown["saved"]}
        assert pictures.keys() == arguments.keys()
        for name, array in arguments.items():
            assert_shows(pictures[name], array)
        gradients = {"d" + flow.input: flow.gradient for flow in step.flows if flow.gradient is not None}
        assert [name for name, _ in shown["dxs"]] == list(gradients)
        for name, place in shown["dxs"]:
            assert_shows(data["pictures"][place], gradients[name])
        assert_shows(data["pictures"][shown["value"][0][1]], live.value(step.node))


def test_what_accumulates_is_told_before_and_after(file: Path) -> None:
    data, live = data_of(file), large()
    for shown, step in zip(data["steps"], live.steps, strict=True):
        for row, flow in zip(shown["flows"], step.flows, strict=True):
            assert re.sub(r"#\d+", "", row["target"]) == re.sub(r"#\d+", "", flow.name)  # numbers are of another pass
            for name, array in (("before", flow.before), ("gradient", flow.gradient), ("after", flow.after)):
                wanted = None if array is None else pytest.approx(float(np.linalg.norm(array)))
                assert row[name] == wanted, (step.name, flow.input, name)
    tied = data["steps"][-1]["flows"][1]  # the table of tokens, which the head has given a gradient already
    assert tied["target"] == "token_embedding.weight"
    assert tied["before"] > 0


def test_every_node_of_a_right_model_passed_its_numeric_check(file: Path) -> None:
    for step in data_of(file)["steps"]:
        assert step["check"]["state"] == "passed", step["check"]
        differences = [flow["difference"] for flow in step["flows"] if flow["gradient"] is not None]
        assert all(0 <= difference < 1e-5 for difference in differences), step["flows"]


def test_boxes_are_in_forward_order_and_the_lines_are_the_tape(file: Path) -> None:
    nodes = data_of(file)["nodes"]
    assert [node["seq"] for node in nodes] == sorted(node["seq"] for node in nodes)
    by_layer = {(node["layer"], node["op"]): node for node in nodes}
    add = by_layer["blocks.0", "add"]
    assert (add["group"], add["label"]) == ("blocks.0", "")
    qkv = by_layer["blocks.0.attn.qkv", "linear"]
    assert (qkv["group"], qkv["label"]) == ("blocks.0", "attn.qkv")
    assert [nodes[i]["layer"] for i in qkv["parents"]] == ["blocks.0.ln1"]
    into_block_1 = [nodes[i]["layer"] for i in by_layer["blocks.1.ln1", "layernorm"]["parents"]]
    assert into_block_1 == ["blocks.0"]


def test_attention_and_flow_are_the_sessions(file: Path) -> None:
    data, live = data_of(file), large()
    assert data["attention"]["tokens"] == live.tokens
    assert [layer["name"] for layer in data["attention"]["layers"]] == ["blocks.0.attn", "blocks.1.attn"]
    for i, layer in enumerate(data["attention"]["layers"]):
        for place, head in zip(layer["heads"], live.attention_maps(i), strict=True):
            assert_shows(data["pictures"][place], head)
    for shown, flow in zip(data["flow"], live.gradient_flow(), strict=True):
        assert shown["path"] == flow.layer
        assert (shown["output"], shown["parameters"]) == pytest.approx((flow.output_norm, flow.parameter_norm))


def test_long_prompts_show_the_last_tokens_attention() -> None:
    config = GPTConfig(vocab_size=256, context_length=80, n_layer=1, n_head=1, d_model=8)
    ids = np.arange(81)[None]
    live = Session(GPT(config), ids[:, :-1], ids[:, 1:], ByteTokenizer(), "long")
    data = report(live)
    assert data["attention"]["first"] == 16
    assert data["attention"]["note"] == "Shown are the last 64 of 80 tokens."
    assert data["attention"]["tokens"] == live.tokens[16:]
    assert_shows(data["pictures"][data["attention"]["layers"][0]["heads"][0]], live.attention_maps(0)[0, 16:, 16:])


def test_the_same_array_is_stored_once(file: Path) -> None:
    data = data_of(file)
    add = next(step for step in data["steps"] if data["nodes"][step["node"]]["op"] == "add")
    assert add["dy"][0][1] == add["dxs"][0][1] == add["dxs"][1][1]
    shown = [tuple(map(str, picture.values())) for picture in data["pictures"]]
    assert len(set(shown)) == len(shown)


def test_it_is_small_and_names_nothing_to_load(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text) < 1_500_000
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"<(link|img|iframe|script src)", text)


def test_no_path_of_this_machine_is_in_it(file: Path) -> None:
    assert str(Path(__file__).parents[3]) not in file.read_text("utf-8")
    places = {place for step in data_of(file)["steps"] for _, place, _ in step["places"]}
    assert any(re.fullmatch(r"tests/minillm/debug/test_page\.py:\d+", place) for place in places)
    assert any(re.fullmatch(r"minillm/layers/layernorm\.py:\d+", place) for place in places)


def test_the_session_stands_where_it_stood_and_has_the_same_gradients(tmp_path: Path) -> None:
    live = session()
    live.stop(5)
    before = {name: p.grad.copy() for name, p in live.model.named_parameters()}
    write_page(live, tmp_path / "report.html")
    assert live.steps.step is not None
    assert live.steps.step.index == 5
    for name, p in live.model.named_parameters():
        np.testing.assert_array_equal(p.grad, before[name], err_msg=name)


def test_text_that_looks_like_markup_cannot_end_the_data_or_the_title(tmp_path: Path) -> None:
    class Hostile(ByteTokenizer):
        def decode_bytes(self, ids: Any) -> bytes:
            return b"</script><script>alert(1)</script>"

    evil = "</title><script>alert(1)</script> {{data}} & <!--"
    write_page(session(evil, Hostile()), tmp_path / "report.html")
    text, data = (tmp_path / "report.html").read_text("utf-8"), data_of(tmp_path / "report.html")
    assert data["title"] == evil
    assert data["attention"]["tokens"][0] == "</script><script>alert(1)</script>"
    assert "<script>alert" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert f"<title>{html.escape(evil)}</title>" in text


def test_what_is_not_finite_survives() -> None:
    model = GPT(SMALL, seed=1)
    model.ln_f.weight.data[3] = np.inf
    with np.errstate(all="ignore"):
        data = report(session(model=model))
    json.dumps(data, allow_nan=False)  # raises where a NaN would be left that no browser reads
    weight = next(
        data["pictures"][place] for name, place in data["steps"][2]["saved"] if name == "weight"
    )  # of ln_f, third from the end
    assert weight["inf"] == 1
    cells = values(weight)
    assert np.isnan(cells[0, 3])
    assert np.isfinite(np.delete(cells, 3)).all()
    assert data["steps"][0]["flows"][0]["gradient"] == "nan"


def test_a_block_that_is_checkpointed_is_shown_as_not_checked_and_without_its_attention() -> None:
    class Checkpointed(Module):
        def __init__(self, block: Block) -> None:
            self.block = block

        def __call__(self, x: Tensor, mask: Array | None = None) -> Tensor:
            return checkpoint(self.block, x)

    model = GPT(dataclasses.replace(SMALL, n_layer=2), seed=1)
    model.blocks[0] = Checkpointed(model.blocks[0])
    data = report(session(model=model))
    unchecked = [step for step in data["steps"] if step["check"]["state"] == "unchecked"]
    assert len(unchecked) == 1
    assert "no op" in unchecked[0]["check"]["text"]
    assert unchecked[0]["value"] == []
    assert [layer["name"] for layer in data["attention"]["layers"]] == ["blocks.1.attn"]


def test_a_folder_that_does_not_exist_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_page(session(), tmp_path / "nowhere" / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        'def f(x):  # why\n    """One\n    two."""\n\n    return f"{x}" if x is None else 1e-5',
        "class A:\n    def",
        "return 'not closed",
        "",
    ],
)
def test_colours_leave_the_text_as_it_is(source: str) -> None:
    lines = source.split("\n")
    assert ["".join(text for _, text in spans) for spans in highlight(lines)] == lines


def test_colours_are_of_what_is_coloured() -> None:
    first, second = highlight(["def f(x):  # why", "    return 'a' + x * 2"])
    assert first == [("k", "def"), ("", " "), ("d", "f"), ("", "(x):  "), ("c", "# why")]
    assert second == [("", "    "), ("k", "return"), ("", " "), ("s", "'a'"), ("", " + x * "), ("m", "2")]
