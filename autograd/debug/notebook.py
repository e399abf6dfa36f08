"""What a notebook shows of a Tensor, a node, a tape and a pass that is stepped through: HTML, with nothing to load.

    loss                            # numbers, gradient, and where it was computed
    show_tape(loss)                 # a row for each node that backward will run
    steps = loss.backward_steps()
    next(steps)
    steps                           # the same rows, the present one marked, with its gradients

Heat maps are small images inside the HTML: no display, no matplotlib and no script is needed.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from autograd.backends import Array
from autograd.debug.errors import check_output
from autograd.debug.picture import Picture, picture
from autograd.debug.steps import Steps
from autograd.tape import Node, tape
from autograd.tensor import LARGE, Tensor

_ROWS = 200  # of a table, at most
_NEGATIVE, _ZERO, _POSITIVE, _NOT_FINITE = (33, 102, 172), (247, 247, 247), (178, 24, 43), (255, 0, 255)
_CELL = "padding:2px 8px;text-align:left;white-space:nowrap"
_STATES = {"done": "opacity:0.5", "here": "background:#ffe08a;color:#000", "to come": ""}


def tensor_html(tensor: Tensor) -> str:
    """Its repr, and heat maps of its values and of its gradient, if there is one."""
    pictures = _figure("values", getattr(tensor, "data", None))
    if pictures:
        pictures += _figure("gradient", tensor.gradient_set())
    return f"<div><code>{escape(repr(tensor))}</code><div>{pictures}</div></div>"


def node_html(node: Node) -> str:
    """Its row of the tape."""
    return _table([node], {})


def steps_html(steps: Steps) -> str:
    """The tape with the present step marked, and that step's gradients."""
    states = dict.fromkeys(steps.tape[: steps.place], "done")
    step, text = steps.step, f"{steps.place} of {len(steps.tape)} nodes done"
    if step is None:
        return f"<div><b>{text}</b>{_table(steps.tape, states, steps.place)}</div>"
    states[step.node] = "here"
    figures = _figure("dy", step.dy)
    for flow in step.flows:
        figures += _figure(f"d{flow.input} \N{RIGHTWARDS ARROW} {flow.name}", flow.gradient)
    title = f"{text}; at {step.name}, its gradients before they accumulate"
    return f"<div><b>{escape(title)}</b><div>{figures}</div>{_table(steps.tape, states, steps.place)}</div>"


class show_tape:
    """The nodes that `output` was computed by, in backward's order: a table in a notebook, lines elsewhere.

    Raises:
        DebugError: `output` is no Tensor.
    """

    def __init__(self, output: Tensor) -> None:
        check_output("show_tape", output)
        self.nodes = tape(output)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.nodes)) or "<an empty tape: a leaf, or computed under no_grad()>"

    def _repr_html_(self) -> str:
        return _table(self.nodes, {}) if self.nodes else f"<code>{escape(repr(self))}</code>"


def _table(nodes: Sequence[Node], states: dict[Node, str], place: int = 0) -> str:
    """Rows of the nodes around that place."""
    first = max(0, min(place - _ROWS // 2, len(nodes) - _ROWS))
    shown = nodes[first : first + _ROWS]
    heads = ("", "op", "layer", "inputs", "output", "bytes saved", "called at", "")
    rows = [_row("th", heads, "")]
    for i, node in enumerate(shown, start=first):
        inputs = ", ".join("-" if parent is None else str(parent.shape) for parent in node.parents)
        kept = "freed" if node.saved is None else f"{node.saved_bytes:,}"
        state = states.get(node, "to come")
        cells = (str(i), f"{node.op} #{node.seq}", node.layer or "", inputs, f"{node.shape} {node.dtype}", kept)
        rows.append(_row("td", (*cells, str(node.origin), state if states else ""), _STATES[state]))
    left_out = len(nodes) - len(shown)
    more = f"<div>{left_out:,} more nodes are not shown</div>" if left_out else ""
    table = f'<table style="border-collapse:collapse;font-family:monospace">{"".join(rows)}</table>'
    return f'<div style="max-height:30em;overflow:auto">{table}{more}</div>'


def _row(kind: str, cells: Sequence[str], style: str) -> str:
    texts = "".join(f'<{kind} style="{_CELL}">{escape(cell)}</{kind}>' for cell in cells)
    return f'<tr style="{style}">{texts}</tr>'


def _figure(title: str, array: Array | None) -> str:
    """A heat map of an array under its title; "" where there is nothing to draw."""
    if array is None or not 0 < array.size <= LARGE or array.dtype.kind not in "fcbiu":
        return ""
    drawn = picture(array)
    rows, columns = drawn.cells.shape
    scale = min(24, max(2, 256 // max(rows, columns)))  # pixels of a cell
    size = f"width:{columns * scale}px;height:{max(rows * scale, 12)}px"  # a vector is a bar
    caption = f"{title} {drawn.summary}"
    return (
        '<figure style="display:inline-block;margin:4px 12px 4px 0;max-width:17em;vertical-align:top">'
        f'<img alt="{escape(caption)}" style="{size};image-rendering:pixelated;border:1px solid #888" '
        f'src="data:image/png;base64,{base64.b64encode(_png(_colours(drawn))).decode()}">'
        f'<figcaption style="font-size:85%">{escape(caption)}</figcaption></figure>'
    )


def _colours(drawn: Picture) -> Array:
    """Cells (R, C) -> bytes (R, C, 3): blue below zero, red above, stronger the larger, pink where not finite."""
    finite = np.isfinite(drawn.cells)
    share = np.where(finite, drawn.cells, 0)[..., None] / (drawn.limit or 1)  # (R, C, 1), -1 to 1
    zero = np.array(_ZERO)
    colours = zero + np.abs(share) * (np.where(share < 0, _NEGATIVE, _POSITIVE) - zero)  # (R, C, 3)
    colours[~finite] = _NOT_FINITE
    rounded: Array = colours.round().astype(np.uint8)
    return rounded


def _png(pixels: Array) -> bytes:
    """An image file of bytes (R, C, 3)."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)  # each begins with its filter: none
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
