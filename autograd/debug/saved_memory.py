"""What is saved for backward: the bytes that a graph keeps alive, by op and by layer.

    print(saved_bytes(loss))

Memory counts once: a view counts its owner's, all of it, and an array that several nodes saved counts for the first of
them. A block of the workspace counts whole. Parameters and other leaves live anyway: they stand apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from autograd import saved
from autograd.debug.errors import DebugError, check_output
from autograd.tape import Node, tape
from autograd.tensor import Tensor

NO_LAYER = "(no layer)"


@dataclass(frozen=True)
class SavedBytes:
    """The bytes of a graph, made by `saved_bytes`.

    Attributes:
        nodes: (node, bytes it was the first to save), in order of execution.
        leaves: bytes of the parameters and inputs among what is saved, which are not in the others.
    """

    nodes: list[tuple[Node, int]]
    leaves: int

    @property
    def total(self) -> int:
        """Bytes kept alive for backward."""
        return sum(n_bytes for _, n_bytes in self.nodes)

    @property
    def by_op(self) -> dict[str, int]:
        """Bytes by the op's name, the most first."""
        return dict(sorted(self._sums(lambda node: str(node.op)).items(), key=lambda item: -item[1]))

    @property
    def by_layer(self) -> dict[str, int]:
        """Bytes by the path of the layer that called the op, in order of execution."""
        return self._sums(lambda node: node.layer or NO_LAYER)

    def _sums(self, key: Callable[[Node], str]) -> dict[str, int]:
        sums: defaultdict[str, int] = defaultdict(int)
        for node, n_bytes in self.nodes:
            sums[key(node)] += n_bytes
        return dict(sums)

    def __str__(self) -> str:
        """A table by op and one by layer, for a terminal."""
        total = self.total
        lines = [f"saved for backward: {total:,} bytes by {len(self.nodes)} nodes"]
        for title, sums in (("op", self.by_op), ("layer", self.by_layer)):
            rows = [(name, n_bytes) for name, n_bytes in sums.items() if n_bytes]
            width = max([len(title), *(len(name) for name, _ in rows)])
            lines += ["", f"{title:<{width}}  {'bytes':>15}  share"]
            lines += [f"{name:<{width}}  {n_bytes:>15,}  {n_bytes / total:>5.1%}" for name, n_bytes in rows]
        return "\n".join([*lines, "", f"and of parameters and inputs, which live anyway: {self.leaves:,} bytes"])


def saved_bytes(loss: Tensor) -> SavedBytes:
    """The bytes that the graph of `loss` keeps alive for backward.

    Raises:
        DebugError: this is no Tensor, nothing was recorded, or a backward has freed the graph.
    """
    check_output("saved_bytes", loss)
    nodes = tape(loss)[::-1]
    if not nodes:
        raise DebugError(
            "this tensor has no graph, so nothing is saved for its backward: give one that was computed from leaves "
            "with requires_grad=True, outside no_grad()"
        )
    for node in nodes:
        if node.saved is None:
            raise DebugError(
                f"{node!r} was freed by backward(), with all that was saved: ask before backward(), "
                "or call it with retain_graph=True"
            )
    leaves = saved.memory(leaf.data for node in nodes for leaf in _leaves(node))
    met: dict[int, saved.Memory] = {}
    counted = []
    for node in nodes:
        blocks = saved.memory(node.saved or ())
        new = (block for owner, block in blocks.items() if owner not in met and owner not in leaves)
        counted.append((node, sum(block.whole for block in new)))
        met |= blocks
    return SavedBytes(counted, sum(block.whole for owner, block in met.items() if owner in leaves))


def _leaves(node: Node) -> list[Tensor]:
    """The leaves among its inputs, and the parameters of its layer: one that is frozen gets no gradient."""
    inputs = [parent for parent in node.parents if isinstance(parent, Tensor)]
    own = vars(node.origin.layer).values() if node.origin.layer is not None else ()
    return inputs + [value for value in own if isinstance(value, Tensor)]
