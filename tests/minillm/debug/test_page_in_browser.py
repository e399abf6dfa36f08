"""The page in a real browser: it draws what the session has, goes where it is told, and asks nobody for anything."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autograd.backends import Array
from autograd.debug.node_check import NodeCheck
from minillm import GPT, GPTConfig
from minillm.debug import Session
from minillm.debug.page import write_page
from minillm.layers.layernorm import layernorm
from minillm.tokenizer import ByteTokenizer

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")

CONFIG = GPTConfig(vocab_size=256, context_length=12, n_layer=2, n_head=2, d_model=16)
IDS = np.frombuffer(b"To be, or not", np.uint8).astype(np.int64)
EVIL = "<b onmouseover=alert(1)>é</b>"
LIGHT = {"negative": (0x1B, 0x62, 0xA5), "zero": (0xF6, 0xF6, 0xF3), "positive": (0xB9, 0x37, 0x1F)}
NONFINITE = [0xC2, 0x1F, 0xD0]


class Markup(ByteTokenizer):
    """Its first token is text that a careless page would run."""

    def decode_bytes(self, ids: Any) -> bytes:
        return EVIL.encode() if list(ids) == [ord("T")] else super().decode_bytes(ids)


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(GPT(CONFIG, seed=1), IDS[None, :-1], IDS[None, 1:], Markup(), f"a page {EVIL}")


@pytest.fixture(scope="module")
def file(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(session, file)
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The page, opened; at the end it must have had no error, no request but for itself and no dialog."""
    yield from opened(browser, file)


def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, "color_scheme": "light", **options})
    troubles: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    yield page
    page.close()
    assert troubles == []
    assert requests == [file.as_uri()]


def place(page: Any) -> tuple[str, str]:
    return page.inner_text("#op"), page.inner_text("#layer")


def pixels(page: Any, name: str) -> Array:
    """(rows, columns, 3) of the heat map of the array `name`."""
    found = page.evaluate(
        """name => {
            const canvas = document.querySelector(`.card[data-name="${name}"] .map canvas`);
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const image = copy.getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(image.data)];
        }""",
        name,
    )
    return np.reshape(found[2], (found[0], found[1], 4))[..., :3]


def colours(array: Array) -> Array:
    """What a light page shows for the rows of an array, (rows, columns, 3)."""
    table = array.reshape(-1, array.shape[-1]).astype(np.float64)
    share = (np.abs(table) / np.abs(table).max())[..., None]
    ends = np.where(table[..., None] < 0, LIGHT["negative"], LIGHT["positive"])
    return LIGHT["zero"] + share * (ends - np.array(LIGHT["zero"]))


def go(page: Any, session: Session, layer: str, op: str) -> Any:
    """Move the slider to the step of an op in a layer; that step of the session."""
    at = next(i for i, node in enumerate(session.nodes) if (node.layer, str(node.op)) == (layer, op))
    page.locator("#slider").fill(str(at))
    assert place(page) == (op, layer)
    return session.stop(at)


def test_it_begins_at_the_loss_and_the_keys_walk_to_the_embedding_and_back(page: Any, session: Session) -> None:
    n = len(session.nodes)
    assert place(page) == ("cross_entropy", "(GPT)")
    seen = [place(page)]
    for _ in range(n - 1):
        page.keyboard.press("ArrowRight")
        seen.append(place(page))
    assert seen == [(str(node.op), node.layer) for node in session.nodes]
    assert page.inner_text("#count") == f"step {n} of {n}"
    assert page.is_disabled("#next")
    page.keyboard.press("ArrowRight")  # nowhere to go
    assert place(page) == seen[-1]
    page.keyboard.press("ArrowLeft")
    assert place(page) == seen[-2]
    page.keyboard.press("Home")
    assert place(page) == seen[0]
    page.keyboard.press("End")
    assert place(page) == seen[-1]


def test_the_buttons_step_and_play(page: Any) -> None:
    page.get_by_label("Step (right arrow)").click()
    assert page.inner_text("#count").startswith("step 2 ")
    page.get_by_label("Step back").click()
    assert page.inner_text("#count").startswith("step 1 ")
    page.get_by_label("Last step").click()
    page.get_by_label("Play").click()  # from the end: begins again, and goes on by itself
    some_steps_on = re.compile(r"^step ([3-9]|\d\d) ")  # a busy machine may not look at each
    sync_api.expect(page.locator("#count")).to_have_text(some_steps_on, timeout=60_000)
    page.get_by_label("Pause").click()
    page.get_by_label("First step").click()
    assert page.inner_text("#count").startswith("step 1 ")


def test_the_source_is_the_ops_own_with_its_line_numbers(page: Any, session: Session) -> None:
    go(page, session, "blocks.1.ln2", "layernorm")
    for part, function in (("backward", layernorm.backward.reference), ("forward", layernorm.forward.reference)):
        lines, first = inspect.getsourcelines(function)
        assert page.locator(f"#{part} .line").all_text_contents() == [line.rstrip("\n") for line in lines]
        assert page.locator(f"#{part} .line").first.get_attribute("data-n") == str(first)
    assert page.locator("#backward .d").inner_text() == "layernorm_backward"
    assert "dx = rstd * (dxhat - E[dxhat] - xhat*E[dxhat*xhat])" in page.inner_text("#formula")
    assert re.search(r"minillm/layers/layernorm\.py:\d+\s*return layernorm\(", page.inner_text("#places"))
    go(page, session, "blocks.1.attn", "attention")
    assert "attention_backward" in page.inner_text("#backward")


def test_heat_maps_are_the_arrays(page: Any, session: Session) -> None:
    step = go(page, session, "blocks.1.ln2", "layernorm")
    for name, array in (
        ("dy", step.dy),
        ("dx", step.dxs[0]),
        ("x", step.arguments["x"]),
        ("y", session.value(step.node)),
    ):
        assert np.abs(pixels(page, name) - colours(array)).max() < 1, name
    before = pixels(page, "dy")
    go(page, session, "blocks.0.ln2", "layernorm")
    assert not np.array_equal(pixels(page, "dy"), before)


def test_pointing_at_a_cell_tells_its_index_and_number(page: Any, session: Session) -> None:
    step = go(page, session, "blocks.0.ln1", "layernorm")
    canvas = page.locator('.card[data-name="dy"] .map canvas')
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    T, C = step.dy.shape[1:]
    t, c = 7, 3
    page.mouse.move(box["x"] + (c + 0.5) * box["width"] / C, box["y"] + (t + 0.5) * box["height"] / T)
    index, value = page.inner_text("#tip").split(" = ")
    assert index == f"[0, {t}, {c}]"
    assert float(value) == pytest.approx(float(step.dy[0, t, c]), rel=6e-3)
    page.mouse.move(2, 2)
    assert page.is_hidden("#tip")


def test_statistics_and_a_histogram_stand_below_each_array(page: Any, session: Session) -> None:
    step = go(page, session, "blocks.0.mlp", "gelu_tanh")
    card = page.locator('.card[data-name="dx"]')
    assert f"(1, {IDS.size - 1}, 64) float32" in card.inner_text()
    facts = dict(zip(*[iter(card.locator(".facts dt, .facts dd").all_text_contents())] * 2, strict=True))
    assert float(facts["norm"]) == pytest.approx(float(np.linalg.norm(step.dxs[0])), rel=1e-3)
    assert float(facts["min"]) == pytest.approx(float(step.dxs[0].min()), rel=1e-3)
    assert card.locator(".bins rect").count() == 32


def test_it_tells_where_gradients_accumulate_and_leads_there(page: Any, session: Session) -> None:
    step = go(page, session, "blocks.1.ln2", "layernorm")
    rows = page.locator("#flows tbody tr")
    assert rows.count() == 3
    cells = rows.nth(0).locator("td").all_text_contents()
    flow = step.flows[0]
    assert cells[:2] == ["dx", flow.name]
    norms = [float(np.linalg.norm(x)) for x in (flow.before, flow.gradient, flow.after)]
    assert [float(cell) for cell in cells[2:5]] == pytest.approx(norms, rel=1e-3)
    assert rows.nth(1).locator("td").all_text_contents()[1:3] == ["blocks.1.ln2.weight", "nothing"]
    page.get_by_role("button", name=flow.name).last.click()
    assert place(page) == ("add", "blocks.1")


def test_the_numeric_check_is_shown(page: Any, session: Session) -> None:
    step = go(page, session, "blocks.0.attn.qkv", "linear")
    assert page.inner_text("#check") == "numeric check passed"
    assert page.inner_text("#check-text") == session.check(step.node).text


def test_a_failed_check_is_shown_as_failed_with_all_its_text(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = GPT(dataclasses.replace(CONFIG, n_layer=1), seed=1)
    session = Session(model, IDS[None, :-1], IDS[None, 1:], ByteTokenizer(), "a wrong gradient")
    wrong = NodeCheck({"x": 0.25}, False, "layernorm: wrong in 1 of 3 gradients\n  dx: 2.5e-1", 0.1)
    right = NodeCheck({}, True, "right", 0.1)
    monkeypatch.setattr(session, "check", lambda node: wrong if node.layer == "ln_f" else right)
    write_page(session, tmp_path / "report.html")
    for page in opened(browser, tmp_path / "report.html"):
        assert page.inner_text("#check") == "numeric check passed"
        go(page, session, "ln_f", "layernorm")
        assert page.inner_text("#check") == "numeric check failed"
        assert page.inner_text("#check-text") == wrong.text
        assert page.locator("#flows tbody tr").first.locator("td").last.inner_text() == "0.25"


def test_clicking_a_box_of_the_diagram_goes_to_its_step_and_marks_it(page: Any, session: Session) -> None:
    assert page.locator(".box").count() == len(session.nodes)
    assert page.locator(".group > span").all_text_contents() == ["blocks.0", "blocks.1"]
    box = page.locator(".box[title^='blocks.0.attn.qkv']")
    box.click()
    assert place(page) == ("linear", "blocks.0.attn.qkv")
    assert page.locator(".box[aria-current=step]").get_attribute("title") == box.get_attribute("title")
    done = page.locator(".box.done").count()
    assert done == next(i for i, node in enumerate(session.nodes) if node.layer == "blocks.0.attn.qkv")
    edges = page.locator("#edges path")
    assert edges.count() == sum(sum(hasattr(p, "seq") for p in node.parents) for node in session.nodes)
    round_the_boxes = [d for d in edges.evaluate_all("lines => lines.map(line => line.getAttribute('d'))") if "C" in d]
    assert len(round_the_boxes) == 5  # two residual connections in each block, and the tokens past the positions


def test_attention_has_the_tokens_beside_it_as_text(page: Any, session: Session) -> None:
    page.get_by_role("tab", name="Attention").click()
    assert page.is_hidden("#steps")
    assert page.locator("figcaption").all_text_contents() == [
        f"blocks.{layer}.attn, head {head}" for layer in range(2) for head in range(2)
    ]
    T = len(session.tokens)
    labels = page.locator("figure").first.locator("text").all_text_contents()
    assert labels[1:T] == labels[T + 1 :] == session.tokens[1:]
    assert labels[0] == session.tokens[0][:7] + "…"
    canvas = page.locator("figure").nth(3).locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    query, key = 5, 0
    page.mouse.move(box["x"] + (key + 0.5) * box["width"] / T, box["y"] + (query + 0.5) * box["height"] / T)
    told, _, weight = page.inner_text("#tip").rpartition(": ")
    assert told == f"“{session.tokens[query]}” ({query}) reads “{session.tokens[key]}” ({key})"
    assert float(weight) == pytest.approx(float(session.attention_maps(1)[1, query, key]), rel=6e-3)


def test_the_gradient_flow_has_bars_on_a_log_scale(page: Any, session: Session) -> None:
    page.get_by_role("tab", name="Attention").focus()
    page.get_by_role("tab", name="Steps").focus()
    page.keyboard.press("ArrowLeft")  # round to the last tab
    flow = session.gradient_flow()
    assert page.locator("#bars .path").all_text_contents() == [row.layer for row in flow]
    width = {
        row.layer: page.locator("#bars .track").nth(i).locator(".output").bounding_box()["width"]
        for i, row in enumerate(flow)
    }
    decade = page.evaluate("getComputedStyle(document.querySelector('.track')).backgroundSize").split("%")[0]
    track = page.locator("#bars .track").first.bounding_box()["width"] - 1  # its line
    norm = {row.layer: row.output_norm for row in flow}
    found = (width["blocks.1"] - width["blocks.1.ln2"]) / (track * float(decade) / 100)
    assert found == pytest.approx(np.log10(norm["blocks.1"] / norm["blocks.1.ln2"]), abs=0.02)


def test_what_is_not_finite_has_a_colour_of_its_own(browser: Any, tmp_path: Path) -> None:
    model = GPT(dataclasses.replace(CONFIG, n_layer=1), seed=1)
    model.ln_f.weight.data[3] = np.nan
    with np.errstate(all="ignore"):
        session = Session(model, IDS[None, :-1], IDS[None, 1:], ByteTokenizer(), "a model with a NaN")
        write_page(session, tmp_path / "report.html")
    for page in opened(browser, tmp_path / "report.html"):
        go(page, session, "ln_f", "layernorm")
        weight = pixels(page, "weight")
        assert (weight[0] == NONFINITE).all(-1).nonzero()[0].tolist() == [3]
        assert "NaN1" in page.inner_text('.card[data-name="weight"] .facts').replace("\n", "")


@pytest.mark.parametrize(("width", "scheme"), [(800, "light"), (1600, "dark")])
def test_nothing_sticks_out_at_any_width_and_colours_follow_the_system(
    browser: Any, file: Path, session: Session, width: int, scheme: str
) -> None:
    for page in opened(browser, file, viewport={"width": width, "height": 900}, color_scheme=scheme):
        for i in {str(node.op): i for i, node in enumerate(session.nodes)}.values():  # one step of each op
            page.locator("#slider").fill(str(i))
            too_wide = page.evaluate(
                """() => [...document.querySelectorAll("header, article, #diagram, .box, .card, .card *, #places dd")]
                    .filter(x => x.scrollWidth > x.clientWidth + 1 && x.clientWidth && !x.closest("svg, .scroll, b"))
                    .map(x => x.className || x.tagName)"""
            )
            assert too_wide == [], place(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 380) == (scheme == "light")
        for name in ("attention", "flow"):
            page.click(f"#tab-{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_button_has_a_name(page: Any) -> None:
    for button in page.locator("button").all():
        name = button.get_attribute("aria-label") or button.text_content()
        assert name
        assert name.strip()


def test_the_browser_itself_forbids_it_every_request(browser: Any, file: Path) -> None:
    page = browser.new_page()
    page.goto(file.as_uri())
    forbidden = page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.violatedDirective));
            fetch("/anything").catch(() => {}).then(() => setTimeout(() => resolve("allowed"), 1000));
        })"""
    )
    assert forbidden == "connect-src"
    page.close()
