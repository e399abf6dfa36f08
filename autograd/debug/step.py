"""One step of a backward pass: the node, the gradients it was handed and gives, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autograd.backends import Array
from autograd.backward_pass import add_gradients
from autograd.names import named
from autograd.norm import norm
from autograd.tape import Leaf, Node


@dataclass(frozen=True)
class Flow:
    """One gradient of a step, and where it goes.

    Attributes:
        input: name of the forward's argument that this is the gradient of.
        target: the node that made the input, the leaf Tensor itself, or None where no gradient is wanted.
        name: of the target, such as "blocks.0.ln1.weight" or "blocks.0.attn.qkv: linear #12".
        before: what has accumulated there, also from inputs before this one; None if nothing.
        gradient: what this step adds, None if nothing.
        after: what is there then.
    """

    input: str
    target: Node | Leaf | None
    name: str
    before: Array | None
    gradient: Array | None

    @property
    def after(self) -> Array | None:
        if self.before is None or self.gradient is None:
            return self.gradient if self.before is None else self.before
        return add_gradients(self.before, self.gradient)


class Step:
    """A node of the tape whose backward has run, stopped before its gradients accumulate.

    Attributes:
        index: 0 for the first node that backward runs.
        node: the node; `node.saved` are the arrays its backward was handed.
        dy: the gradient that came in, of the op's output; read-only, since the node has used it.
        dxs: the gradients that go out, one for each input; may be edited, in place or by assigning to an item.
    """

    def __init__(
        self,
        index: int,
        node: Node,
        dy: Array,
        dxs: list[Array | None],
        grads: Mapping[Node, Array],
        sums: dict[int, tuple[Array, Array]],
        shared: dict[int, Array],
    ) -> None:
        """
        Args:
            grads: what has come in for the nodes that have not run.
            sums, shared: what flows on in place of those items of `dxs` that nobody edits: SteppedPass.
        """
        self.index, self.node, self.dy, self.dxs = index, node, dy, dxs
        self.sums, self.shared, self._grads = sums, shared, grads

    @property
    def name(self) -> str:
        """Of the op and where it stands: "blocks.0.attn: attention #12"."""
        return node_name(self.node)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the backward was handed, by the names it has there: dy and the saved values."""
        return backward_arguments(self.node, self.dy)

    @property
    def flows(self) -> list[Flow]:
        """Where each gradient goes, while the pass stands at this step."""
        flows: list[Flow] = []
        for name, (parent, dx) in input_pairs(self.node, self.dxs).items():
            before = None
            earlier = [flow for flow in flows if flow.target is parent]
            if parent is not None and earlier:  # an op of x and x
                before = earlier[-1].after
            elif isinstance(parent, Node):
                before = self._grads.get(parent)
            elif parent is not None:
                before = parent.gradient_set()
            flows.append(Flow(name, parent, target_name(parent), before, None if parent is None else dx))
        return flows

    def __repr__(self) -> str:
        flows = "".join(f"\n  d{flow.input} {_size(flow.gradient)} -> {flow.name}" for flow in self.flows)
        return f"<step {self.index}, {self.node!r}\n  dy {_size(self.dy)}{flows}>"


def backward_arguments(node: Node, dy: Array | None) -> dict[str, Any]:
    """What the node's backward is handed, by the names it has there: dy and the saved values."""
    return named(node.backward, (dy, *(node.saved or ())))


def node_name(node: Node) -> str:
    """Layer, op and number."""
    return f"{node.layer}: {node.op} #{node.seq}" if node.layer else f"{node.op} #{node.seq}"


def target_name(parent: Node | Leaf | None) -> str:
    """Where a gradient goes, for people."""
    if parent is None:
        return "nowhere: no gradient is wanted"
    if isinstance(parent, Node):
        return node_name(parent)
    return getattr(parent, "name", None) or f"leaf {parent.shape}"


def input_pairs(node: Node, dxs: list[Array | None]) -> dict[str, tuple[Node | Leaf | None, Array | None]]:
    """(where its gradient goes, its gradient) of each input, by its name in the forward."""
    forward = getattr(node.op, "forward", None)  # a checkpoint has none
    return named(forward.reference if forward else None, tuple(zip(node.parents, dxs, strict=False)))


def _size(array: Array | None) -> str:
    return "None" if array is None else f"{array.shape}, norm {norm(array):.4g}"
