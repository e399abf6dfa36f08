"""The names a function gives its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def named(function: Callable[..., Any] | None, values: Sequence[Any]) -> dict[str, Any]:
    """Positional arguments under the names of the function's signature; "input 3" where it has none."""
    names: list[str] = []
    try:
        parameters = list(inspect.signature(function).parameters.values()) if function else []
    except (TypeError, ValueError):  # a builtin without a signature
        parameters = []
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(len(values) - len(names))]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
    names = names[: len(values)] + [f"input {i}" for i in range(len(names), len(values))]
    return dict(zip(names, values, strict=True))
