"""Source code that repeats a failed check, to paste."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autograd.gradcheck.arrays import is_float
from autograd.gradcheck.subject import Subject
from autograd.op import Op

MOST_NUMBERS = 200  # more than these are not fit to paste


def reproducer(target: Any, subject: Subject, laws: Sequence[str]) -> str | None:
    """Source that calls gradcheck on the same numbers; None where there are too many, or the target has no name."""
    functions = (target,) if isinstance(target, Op) else target if isinstance(target, tuple) else ()
    modules = [_origin(f) for f in functions]
    n_numbers = sum(v.size for v in subject.values.values() if isinstance(v, np.ndarray))
    if not functions or None in modules or n_numbers > MOST_NUMBERS:
        return None
    lines = ["import numpy as np", "from autograd.gradcheck import gradcheck"]
    lines += [f"from {module} import {_name(f)}" for module, f in zip(modules, functions, strict=True)]
    arguments = ", ".join(_source(v) for v in subject.values.values())
    called = _name(functions[0]) if len(functions) == 1 else f"({', '.join(map(_name, functions))})"
    constants = [name for name, v in subject.values.items() if is_float(v) and name not in subject.wrt]
    options = f", constants={constants}" if constants else ""
    options += f", dtype={subject.dtype!r}, seed={subject.seed}"
    attributes = {name: _Source(_source(v)) for name, v in subject.attributes.items()}
    lines += ["", f"gradcheck({called}, [{arguments}], {attributes}{options})"]
    lines += [f"# with laws=[...]: {', '.join(laws)}"] if laws else []  # a law has no source to print
    return "\n".join(lines)


class _Source(str):
    """Source code, whose repr is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _origin(function: Op | Callable[..., Any]) -> str | None:
    """The module to import a function from; None for one that cannot be imported by its name."""
    f = function.forward.reference if isinstance(function, Op) else function
    if re.search(r"[<.]", getattr(f, "__qualname__", "<")):
        return None
    return Path(f.__code__.co_filename).stem if f.__module__ == "__main__" else str(f.__module__)


def _name(function: Op | Callable[..., Any]) -> str:
    return function.name if isinstance(function, Op) else function.__name__


def _source(x: Any) -> str:
    if not isinstance(x, np.ndarray):
        return repr(x)
    return f"np.array({x.tolist()!r}, {str(x.dtype)!r}){'' if x.size else f'.reshape{x.shape}'}"
