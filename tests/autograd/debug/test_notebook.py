"""What a notebook shows: well-formed HTML that loads nothing, with images that hold the numbers."""

from __future__ import annotations

import base64
import os
import re
import struct
import subprocess
import sys
import textwrap
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import HANGS

from autograd import Tensor
from autograd.debug import DebugError, show_tape
from autograd.debug.notebook import node_html, steps_html, tensor_html
from minillm import GPT, GPTConfig
from minillm.module import Parameter

ROOT = Path(__file__).parents[3]
VOID = ("img", "br")


class Parsed(HTMLParser):
    """Fails where a tag is not closed in order; gathers tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def images(self) -> list[np.ndarray]:
        return [pixels_of(value or "") for name, value in self.attributes if name == "src"]


def pixels_of(uri: str) -> np.ndarray:
    """Decoded by hand, with every checksum looked at: (R, C, 3)."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    data, chunks = data[8:], {}
    while data:
        (length,) = struct.unpack(">I", data[:4])
        kind, body = data[4:8], data[8 : 8 + length]
        assert struct.unpack(">I", data[8 + length : 12 + length]) == (zlib.crc32(kind + body),)
        chunks[kind], data = body, data[12 + length :]
    columns, rows, depth, kind_of_colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, kind_of_colour) == (8, 2)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + 3 * columns)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(rows, columns, 3)


def gpt_loss() -> tuple[GPT, Tensor]:
    model = GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=1, n_head=2, d_model=16))
    ids = np.arange(8)[None] % 11
    return model, model.loss(ids, ids)


def test_a_tensor_shows_its_values_red_above_zero_blue_below_and_pink_where_not_finite() -> None:
    shown = Parsed(tensor_html(Tensor(np.array([[2.0, -2.0, 0.0, np.nan]]))))
    (image,) = shown.images
    assert image.tolist() == [[[178, 24, 43], [33, 102, 172], [247, 247, 247], [255, 0, 255]]]
    assert "Tensor((1, 4) float64, norm nan, [2, -2, 0, ...])" in shown.text


def test_a_gradient_is_shown_once_there_is_one_and_not_made_by_looking() -> None:
    model, loss = gpt_loss()
    weight = model.blocks[0].ln1.weight
    assert len(Parsed(tensor_html(weight)).images) == 1
    assert weight.gradient_set() is None
    loss.backward()
    shown = Parsed(tensor_html(weight))
    assert len(shown.images) == 2
    assert "gradient (16,) float32" in shown.text


@pytest.mark.parametrize(
    "data", [np.zeros((0, 3)), np.array(1.0), np.array(["a", "b"]), np.array([True]), np.full(3, np.nan), [1 + 2j]]
)
def test_no_array_is_too_odd_to_be_shown(data: Any) -> None:
    assert "Tensor(" in Parsed(tensor_html(Tensor(data))).text


def test_a_tensor_of_400_gb_and_one_that_is_not_made_yet_are_shown_without_a_picture() -> None:
    assert Parsed(tensor_html(Tensor(np.broadcast_to(np.float32(1), (10**6, 10**5))))).images == []
    assert Parsed(tensor_html(Parameter.__new__(Parameter))).images == []


def test_names_cannot_end_the_html() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    x.name = "<script>alert('x')</script>&\""
    (x * 2).sum().backward()
    for html in (tensor_html(x), steps_html(stepped(x))):
        shown = Parsed(html)
        assert "script" not in shown.tags
        assert x.name in shown.text.replace("\\'", "'")


def test_lines_typed_at_a_prompt_are_shown() -> None:
    scope: dict[str, Any] = {"x": Tensor(np.ones(2), requires_grad=True)}
    exec(compile("y = x * 2", "<stdin>", "exec"), scope)
    assert "<stdin>:1" in Parsed(show_tape(scope["y"])._repr_html_()).text


def stepped(x: Tensor) -> Any:
    steps = (x * 2).sum().backward_steps()
    next(steps), next(steps)
    return steps


def rows_of(html: str) -> list[str]:
    """The text of each row below the heads."""
    return [Parsed(row).text for row in re.findall(r"<tr.*?</tr>", html)][1:]


def test_a_tape_has_a_row_for_each_node_in_backwards_order() -> None:
    model, loss = gpt_loss()
    tape = show_tape(loss)
    rows = rows_of(tape._repr_html_())
    assert len(rows) == len(tape.nodes) == len(repr(tape).splitlines())
    for row, node in zip(rows, tape.nodes, strict=True):
        for part in (f"{node.op} #{node.seq}", node.layer or "", str(node.shape), "test_notebook.py:"):
            assert part in row
    assert model.blocks[0].ln1.weight.gradient_set() is None
    loss.backward()
    assert all("freed" in row for row in rows_of(tape._repr_html_()))


def test_the_tape_of_a_leaf_is_empty_and_says_so() -> None:
    assert "empty tape" in show_tape(Tensor(np.ones(1)))._repr_html_()
    assert "empty tape" in repr(show_tape(Tensor(np.ones(1))))
    with pytest.raises(DebugError, match=r"show_tape\(\) was given int: give the Tensor whose graph"):
        show_tape(3)


def test_a_node_shows_its_row() -> None:
    _, loss = gpt_loss()
    assert loss.node is not None
    (row,) = rows_of(node_html(loss.node))
    assert "cross_entropy" in row


def test_steps_mark_the_present_one_show_its_gradients_and_dim_those_done() -> None:
    _, loss = gpt_loss()
    steps = loss.backward_steps(retain_graph=True)
    assert not re.search(r"done</td>|here</td>", steps_html(steps))
    for _ in range(3):
        step = next(steps)
    html = steps_html(steps)
    states = [re.search(r"(done|here|to come)$", row)[1] for row in rows_of(html)]
    assert states == ["done", "done", "here", *["to come"] * (len(steps.tape) - 3)]
    shown = Parsed(html)
    assert len(shown.images) == 1 + len(step.flows) == 4
    assert "dweight → ln_f.weight (16,) float32" in shown.text
    for _ in steps:
        pass
    assert f"{len(steps.tape)} of {len(steps.tape)} nodes done" in steps_html(steps)
    steps.back()
    assert rows_of(steps_html(steps))[-1].endswith("here")


def test_a_long_tape_shows_the_rows_around_the_present_one() -> None:
    x = y = Tensor(np.ones(1), requires_grad=True)
    for _ in range(1000):
        y = y + 1
    steps = y.backward_steps()
    for _ in range(501):
        next(steps)
    rows = rows_of(steps_html(steps))
    assert len(rows) == 200
    assert [row for row in rows if row.endswith("here")] == [rows[100]]
    assert "800 more nodes are not shown" in steps_html(steps)
    assert x.grad is None


def test_nothing_is_loaded_from_anywhere() -> None:
    _, loss = gpt_loss()
    steps = loss.backward_steps()
    next(steps)
    shown = Parsed(steps_html(steps) + tensor_html(loss))
    assert set(shown.tags) <= {"div", "code", "b", "figure", "figcaption", "img", "table", "tr", "th", "td"}
    assert {name for name, _ in shown.attributes} == {"style", "src", "alt"}
    assert "http" not in steps_html(steps)


def test_neither_matplotlib_nor_ipython_is_needed_or_imported() -> None:
    code = """
    import sys
    for name in ("matplotlib", "IPython"):
        sys.modules[name] = None  # an import raises
    import numpy as np
    from autograd import Tensor
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    loss = (x * 2).sum()
    assert "img" in x._repr_html_() and "table" in loss.node._repr_html_()
    assert "table" in loss.backward_steps()._repr_html_()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=ROOT)


def test_in_a_notebook_that_nobody_watches_all_of_it_is_shown_and_lines_are_those_of_cells(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient, nbformat and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, nbformat and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient, nbformat and ipykernel")
    cells = [
        "import numpy as np\nfrom autograd import Tensor\nfrom autograd.debug import break_on, show_tape",
        "x = Tensor(np.ones((2, 3)), requires_grad=True)\nloss = (x * 2).sum()\nloss",
        "show_tape(loss)",
        "steps = loss.backward_steps(retain_graph=True)\nnext(steps)\nsteps",
        "with break_on(op='multiply'):\n    loss.backward()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
        timeout=HANGS,
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = [cell["outputs"] for cell in notebook.cells]
    for i, part in ((1, "In[2]:2"), (2, "In[2]:2"), (3, "here")):
        assert part in shown[i][0]["data"]["text/html"], shown[i]
        assert "image/png" in shown[i][0]["data"]["text/html"] or i == 2
    (error,) = shown[4]
    assert (error["ename"], "is not switched on" in error["evalue"]) == ("DebugError", True)
