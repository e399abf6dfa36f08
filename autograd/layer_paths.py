"""Layers by their paths in a model, such as "blocks.0.attn"; a pattern stands for all below it too."""

from __future__ import annotations

import fnmatch


def within(path: str, pattern: str) -> bool:
    """Whether the pattern, which may have wildcards, names this layer or one above it."""
    return any(fnmatch.fnmatchcase(above, pattern) for above in and_those_above(path))


def and_those_above(*paths: str) -> set[str]:
    """a.b.c -> a, a.b, a.b.c."""
    parts = [path.split(".") for path in paths]
    return {".".join(names[: i + 1]) for names in parts for i in range(len(names))}


class Layers:
    """The layers that a pattern stands for; "*" is everything, also what no layer called.

    Attributes:
        seen: the paths of all layers that were asked about.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.seen: set[str] = set()
        self.everything = pattern == "*"

    def have(self, path: str | None) -> bool:
        """Whether the layer of this path is among them."""
        if path is None:
            return self.everything
        self.seen.add(path)
        return self.everything or within(path, self.pattern)

    def check(self) -> None:
        """
        Raises:
            LookupError: the pattern stands for none of the layers that were asked about.
        """
        if not self.everything and not any(within(path, self.pattern) for path in self.seen):
            known = ", ".join(map(repr, sorted(self.seen)[:10])) or "none at all"
            raise LookupError(
                f"no op ran in layer {self.pattern!r}: the layers whose ops ran are {known}"
                f"{', ...' if len(self.seen) > 10 else ''}; give the path of one, or of a layer above"
            )
