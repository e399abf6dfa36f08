"""All that the page shows, as one JSON value, and the file it is written to.

The file loads nothing: styles, scripts and data are in it, and its content security policy forbids every request.
"""

from __future__ import annotations

import html
import json
import linecache
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autograd import Node, Op
from autograd.debug import DebugError, Step
from autograd.debug.source import Listing, OpSource, shown_path
from autograd.debug.step import Flow, node_name
from autograd.norm import norm
from minillm.debug.page.highlight import highlight
from minillm.debug.page.pictures import Pictures, number
from minillm.debug.session import Session
from minillm.files import replacing
from minillm.layers.attention import attention

_SCRIPTS = ("draw.js", "diagram.js", "layers.js", "page.js")
_MOST_TOKENS = 64  # beside an attention map: more could not be read


def write_page(session: Session, path: Path | str) -> None:
    """Write the session's whole backward pass to an HTML file that needs nothing else.

    The session's steps are walked through and end where they stood.

    Raises:
        UserError: the file cannot be written; one that had the name is then unchanged.
    """
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:  # fails before the work
        file.write(_page(session))


def _page(session: Session) -> str:
    data = json.dumps(report(session), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": html.escape(session.title),
        "style": _file("page.css"),
        "script": "(() => {\n'use strict';\n" + "\n".join(map(_file, _SCRIPTS)) + "\n})();",
        "data": data,  # has no "<": nothing in it can end the element
    }
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], _file("template.html"))


def report(session: Session) -> dict[str, Any]:
    """The page's data; what its parts are is said where they are made."""
    pictures, sources = Pictures(), {}
    nodes = session.nodes[::-1]  # in forward order
    places = {node: i for i, node in enumerate(nodes)}
    steps = _walk(session, pictures, places)  # minutes for a large model: each step has its numeric check
    taken = list(tqdm(steps, "checking each step", total=len(nodes), unit="step", delay=1, leave=False, disable=None))
    step_of = {step["node"]: i for i, step in enumerate(taken)}
    for step in taken:
        source = session.source(nodes[step["node"]])
        sources[step["source"]] = _source(source)
        for flow in step["flows"]:
            flow["step"] = step_of.get(flow["node"])
    return {
        "title": session.title,
        "about": f"loss {session.loss.item():.4f}, {session.ids.size} tokens, {len(taken)} steps",
        "nodes": [_node(node, places, step_of) for node in nodes],
        "steps": taken,
        "sources": sources,
        "attention": _attention(session, pictures),
        "flow": [
            {"path": flow.layer, "output": number(flow.output_norm), "parameters": number(flow.parameter_norm)}
            for flow in session.gradient_flow()
        ],
        "pictures": pictures.made,
    }


def _walk(session: Session, pictures: Pictures, places: dict[Node, int]) -> Iterator[dict[str, Any]]:
    """Each step of the pass, in its order."""
    at = session.steps.step
    yield _step(session, session.stop(0), pictures, places)
    for step in session.steps:
        yield _step(session, step, pictures, places)
    if at is not None:
        session.stop(at.index)


def _node(node: Node, places: dict[Node, int], step_of: dict[int, int]) -> dict[str, Any]:
    """A box of the diagram: `group` is the block it is in, `label` its layer inside of that."""
    path = node.layer or ""
    block = re.match(r"(.*?\.\d+)(?:\.|$)", path)
    label = path[block.end() :] if block else path
    return {
        "op": str(node.op),
        "layer": path,
        "seq": node.seq,
        "name": node_name(node),
        "group": block[1] if block else "",
        "label": "" if label.startswith("(") else label,
        "parents": sorted({places[parent] for parent in node.parents if isinstance(parent, Node)}),
        "step": step_of.get(places[node]),
    }


def _step(session: Session, step: Step, pictures: Pictures, places: dict[Node, int]) -> dict[str, Any]:
    """Arrays are [name, place of the picture]; `others` are the values that are no arrays."""
    node, flows = step.node, step.flows
    (dy_name, dy), *saved = step.arguments.items()
    check = _check(session, node)
    return {
        "node": places[node],
        "source": str(node.op) if isinstance(node.op, Op) else node_name(node),
        "places": _places(node),
        "dy": [[dy_name, pictures.place(dy)]],
        "dxs": [["d" + flow.input, pictures.place(flow.gradient)] for flow in flows if flow.gradient is not None],
        "saved": [[name, pictures.place(x)] for name, x in saved if hasattr(x, "dtype")],
        "others": [[name, repr(x)] for name, x in saved if not hasattr(x, "dtype")],
        "value": _value(session, node, pictures),
        "flows": [_flow(flow, places, check["gradients"].get(flow.input)) for flow in flows],
        "check": {"state": check["state"], "text": check["text"]},
    }


def _flow(flow: Flow, places: dict[Node, int], difference: float | None) -> dict[str, Any]:
    """Norms are None where there is nothing; `difference` is the numeric check's."""
    norms = {"before": flow.before, "gradient": flow.gradient, "after": flow.after}
    return {
        "input": flow.input,
        "target": flow.name,
        "node": places.get(flow.target) if isinstance(flow.target, Node) else None,
        "difference": None if difference is None else number(difference),
        **{name: None if x is None else number(norm(x)) for name, x in norms.items()},
    }


def _check(session: Session, node: Node) -> dict[str, Any]:
    try:
        check = session.check(node)
    except DebugError as error:  # a checkpoint's node is no op
        return {"state": "unchecked", "text": str(error), "gradients": {}}
    return {"state": "passed" if check.passed else "failed", "text": check.text, "gradients": check.gradients}


def _value(session: Session, node: Node, pictures: Pictures) -> list[list[Any]]:
    try:
        return [["y", pictures.place(session.value(node))]]
    except DebugError:  # as above
        return []


def _places(node: Node) -> list[list[str]]:
    """[whose, file and line, the line's code] of the layer's call and of the user's."""
    found: list[tuple[str, tuple[str, int]]] = []
    for whose, place in (("layer's line", node.origin.caller_line), ("your line", node.origin.user_line)):
        if place is not None and all(place != other for _, other in found):
            found.append((whose, place))
    return [
        [whose, f"{shown_path(file)}:{line}", linecache.getline(file, line).strip()] for whose, (file, line) in found
    ]


def _source(source: OpSource) -> dict[str, Any]:
    def listing(of: Listing) -> dict[str, Any]:
        return {"file": of.file, "first": of.first, "lines": highlight(of.lines)}

    return {
        "title": source.title,
        "formula": source.formula,
        "forward": listing(source.forward),
        "backward": listing(source.backward),
    }


def _attention(session: Session, pictures: Pictures) -> dict[str, Any]:
    """A picture for each head of each layer, of the last tokens where there are many."""
    n, most = len(session.tokens), _MOST_TOKENS
    nodes = [node for node in session.nodes[::-1] if node.op is attention]
    maps = [session.attention_maps(layer)[:, -most:, -most:] for layer in range(len(nodes))]
    return {
        "tokens": session.tokens[-most:],
        "first": max(n - most, 0),
        "note": f"Shown are the last {most} of {n} tokens." if n > most else "",
        "layers": [
            {"name": node.layer or "attention", "heads": [pictures.place(head) for head in heads]}
            for node, heads in zip(nodes, maps, strict=True)
        ],
    }


def _file(name: str) -> str:
    return resources.files("minillm.debug.page").joinpath(name).read_text(encoding="utf-8")
