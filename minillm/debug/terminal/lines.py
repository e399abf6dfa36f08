"""Which line of a function computes a value that it returns, or that it saves for the backward."""

from __future__ import annotations

import ast

from autograd.debug.source import Listing, parsed


def computing_line(listing: Listing, place: int) -> int | None:
    """Number of the line that computes the value a backward returns at `place`; None where no line can be told."""
    function = parsed(listing)
    returned = _returned(function) if function else None
    if returned is None:
        return None
    value = returned.value
    if isinstance(value, ast.Tuple):
        if any(isinstance(item, ast.Starred) for item in value.elts) or place >= len(value.elts):
            return returned.lineno
        value = value.elts[place]
    if isinstance(value, ast.Name):
        return assigning_line(listing, value.id) or returned.lineno
    return (value or returned).lineno


def assigning_line(listing: Listing, name: str) -> int | None:
    """Number of the last line that gives `name` its value; None where none does."""
    function = parsed(listing)
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)] if function else []
    return max((statement.lineno for statement in statements if _assigns(statement, name)), default=None)


def _returned(function: ast.FunctionDef) -> ast.Return | None:
    """The last `return`."""
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return max(returns, key=lambda node: node.lineno, default=None)


def _assigns(node: ast.stmt, name: str) -> bool:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    # dx[...] = is an assignment to dx too
    bases = [part.value if isinstance(part, ast.Subscript) else part for part in parts]
    return any(isinstance(base, ast.Name) and base.id == name for base in bases)
