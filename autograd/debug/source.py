"""What there is to read about a node's op: its formula, and the source of its forward and of its backward."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograd.op import Op
from autograd.tape import Node

_PROJECT = Path(__file__).parents[2]
_LABEL = re.compile(r" *(\w+(?:, \w+)*) {2,}\S")  # "  add       y = a + b", in a file of several ops


@dataclass(frozen=True)
class Listing:
    """Source of one function, as it stands in its file.

    Attributes:
        file: below the project or the working directory, else its name alone.
        first: number of the first line, from 1.
        lines: without line ends; none where Python keeps no source, as of what was typed at a prompt.
    """

    file: str
    first: int = 1
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OpSource:
    """Everything to read about an op.

    Attributes:
        name: of the op, such as "layernorm".
        file: of its forward, such as "minillm/layers/layernorm.py".
        formula: lines of the file's docstring that are this op's formula; without one, what the forward returns.
        title: first line of that docstring; "" without one.
        forward: the readable reference, whichever twin ran.
        backward: likewise.
    """

    name: str
    file: str
    formula: str
    title: str
    forward: Listing
    backward: Listing


def op_source(node: Node) -> OpSource:
    """What there is to read about the node's op; a node without one, such as a checkpoint's, has its backward."""
    return _of_op(node.op) if isinstance(node.op, Op) else _read(str(node.op), None, node.backward)


@functools.cache
def _of_op(op: Op) -> OpSource:
    return _read(op.name, op.forward.reference, op.backward.reference)


def _read(name: str, forward: Callable[..., Any] | None, backward: Callable[..., Any]) -> OpSource:
    forwards, backwards = listing(forward), listing(backward)
    documented = forward or backward
    docstring = inspect.getdoc(inspect.getmodule(documented)) or ""
    formula = (
        formula_of(name, docstring)
        or formula_of(name, inspect.getdoc(documented) or "")
        or "\n".join(line.strip() for line in forwards.lines if line.strip().startswith("return "))
    )
    file = forwards.file or backwards.file
    return OpSource(name, file, formula, docstring.partition("\n")[0], forwards, backwards)


def listing(function: Callable[..., Any] | None) -> Listing:
    """The source of a function; no lines where there is none."""
    if function is None:
        return Listing("")
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or ""
    except (OSError, TypeError):  # typed at a prompt or run by exec; no function of Python's
        code = getattr(function, "__code__", None)
        return Listing(shown_path(code.co_filename), code.co_firstlineno) if code else Listing("")
    return Listing(shown_path(file), first, [line.rstrip("\n") for line in lines])


def parsed(listing: Listing) -> ast.FunctionDef | None:
    """The function with the line numbers of its file; None of a lambda within a call, or without source."""
    try:
        body = ast.parse(textwrap.dedent("\n".join(listing.lines))).body
    except SyntaxError:
        return None
    if not body or not isinstance(body[0], ast.FunctionDef):
        return None
    return ast.increment_lineno(body[0], listing.first - 1)


def shown_path(file: str) -> str:
    """A path without what differs from machine to machine."""
    for folder in (_PROJECT, Path.cwd()):
        if Path(file).is_relative_to(folder):
            return Path(file).relative_to(folder).as_posix()
    return Path(file).name


def formula_of(name: str, docstring: str) -> str:
    """The lines of a docstring that are the formula of the op `name`, moved to the left together.

    They are the op's line, and those indented below it, in a table of several ops; else the indented lines; else, where
    none is indented, those with a "=" in them.
    """
    lines = docstring.splitlines()[1:]  # the first is the title
    own = _rows_of(name, lines)
    if not own:
        wanted = [line.startswith(" ") for line in lines]
        if not any(wanted):
            wanted = ["=" in line for line in lines]
        own = [line if chosen else "" for line, chosen in zip(lines, wanted, strict=True)]
    text = textwrap.dedent("\n".join(own)).strip("\n")
    return re.sub(r"\n{3,}", "\n\n", text)  # formulas stay apart, however long the prose between them


def _rows_of(name: str, lines: list[str]) -> list[str]:
    """The op's line in a table of several, and those that are indented further than it."""
    for start, line in enumerate(lines):
        label = _LABEL.match(line)
        if label and name in label[1].split(", "):
            end = start + 1
            while end < len(lines) and _indent(lines[end]) > _indent(line):
                end += 1
            return lines[start:end]
    return []


def _indent(line: str) -> int:
    """Of a blank line 0."""
    return len(line) - len(line.lstrip()) if line.strip() else 0
