"""One change of a syntax tree, and what the searches for changes share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

AnyNode = TypeVar("AnyNode", bound=ast.AST)


@dataclass(frozen=True)
class Change:
    """`new` in place of `old`; `at` is where, `before` and `after` are what people read."""

    old: ast.AST
    new: ast.AST
    at: ast.stmt | ast.expr
    before: str
    after: str


Changes = Iterator[Change]


def changed(old: ast.expr | ast.stmt, new: ast.AST) -> Change:
    return Change(old, new, old, ast.unparse(old), ast.unparse(new))


def updated(node: AnyNode, **fields: object) -> AnyNode:
    """The node with some fields replaced."""
    new = type(node)(**(dict(ast.iter_fields(node)) | fields))
    return ast.copy_location(new, node)


def expression(template: str, **parts: ast.expr) -> ast.expr:
    """The expression of the template, with `parts` in place of their names."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return parts.get(node.id, node)

    filled: ast.expr = Fill().visit(ast.parse(template, mode="eval").body)
    return filled


def nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """All nodes of the body; annotations of the function itself are not in it."""
    for statement in function.body:
        yield from ast.walk(statement)


def gradients(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The gradients handed out: elements of a returned tuple or comprehension that are not None, and `dx[...] = `."""
    for node in nodes(function):
        match node:
            case ast.Return(value=ast.expr() as value):
                yield from _elements(value)
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=index))], value=gradient):
                if index is Ellipsis:
                    yield gradient


def _elements(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.Call) and len(value.args) == 1 and isinstance(value.args[0], ast.GeneratorExp):
        value = value.args[0]  # tuple(... for ...)
    if isinstance(value, (ast.GeneratorExp, ast.ListComp)):
        value = value.elt
    for element in value.elts if isinstance(value, ast.Tuple) else [value]:
        if not isinstance(element, (ast.Constant, ast.Starred)):
            yield element


def spoilt(function: ast.FunctionDef, gradient: ast.expr, template: str) -> Change:
    """A returned gradient `dx` replaced by an expression; None where dx can be None."""
    optional = isinstance(gradient, ast.Name) and any(
        isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == gradient.id
        and any(isinstance(part, ast.Constant) and part.value is None for part in ast.walk(node.value))
        for node in nodes(function)
    )
    new = expression(f"None if dx is None else {template}" if optional else template, dx=gradient)
    return changed(gradient, new)
