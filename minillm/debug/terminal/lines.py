"""Which line of a function computes a value that it returns, or that it saves for the backward."""

from __future__ import annotations

import ast
import textwrap

from autograd.debug.source import Listing


def computing_line(listing: Listing, place: int) -> int | None:
    """Number of the line that computes the value a backward returns at `place`; None where no line can be told."""
    function = _function(listing)
    returned = _returned(function) if function else None
    if function is None or returned is None:
        return None
    value = returned.value
    if isinstance(value, ast.Tuple):
        if any(isinstance(item, ast.Starred) for item in value.elts) or place >= len(value.elts):
            return _number(listing, returned)
        value = value.elts[place]
    if isinstance(value, ast.Name):
        return assigning_line(listing, value.id) or _number(listing, returned)
    return _number(listing, value or returned)


def assigning_line(listing: Listing, name: str) -> int | None:
    """Number of the last line that gives `name` its value; None where none does."""
    function = _function(listing)
    lines = [_number(listing, node) for node in ast.walk(function) if _assigns(node, name)] if function else []
    return max(lines, default=None)


def _function(listing: Listing) -> ast.FunctionDef | None:
    try:
        body = ast.parse(textwrap.dedent("\n".join(listing.lines))).body
    except SyntaxError:  # a lambda within a call, or no source at all
        return None
    return body[0] if body and isinstance(body[0], ast.FunctionDef) else None


def _returned(function: ast.FunctionDef) -> ast.Return | None:
    """The last `return`."""
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return max(returns, key=lambda node: node.lineno, default=None)


def _assigns(node: ast.AST, name: str) -> bool:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    # dx[...] = is an assignment to dx too
    bases = [part.value if isinstance(part, ast.Subscript) else part for part in parts]
    return any(isinstance(base, ast.Name) and base.id == name for base in bases)


def _number(listing: Listing, node: ast.stmt | ast.expr | ast.AST) -> int:
    return listing.first + getattr(node, "lineno", 1) - 1
