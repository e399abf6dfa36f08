"""A mutant: a function compiled again from its own source, with one change."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from autograd.gradcheck.mutants import effects
from autograd.gradcheck.mutants.kinds import KINDS

EFFECTS = {name for name, value in vars(effects).items() if inspect.isfunction(value)}


@dataclass(frozen=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: `<function>: <kind>, line <n>: <before> -> <after>`, unique within the function.
        kind: a key of KINDS.
        line: of the change, counted from 1 at the first line of the function's source.
        before, after: source text of what was changed.
        function: the mutant, to be called like the original.
        original: the function it was made from.
    """

    name: str
    kind: str
    line: int
    before: str
    after: str
    function: FunctionType
    original: FunctionType

    @property
    def place(self) -> str:
        """`file:line` of the change."""
        code = self.original.__code__
        return f"{code.co_filename}:{code.co_firstlineno + self.line - 1}"

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Within this block the original runs the mutant's code, from wherever it is called: its object stays."""
        code = self.original.__code__
        self.original.__code__ = self.function.__code__
        try:
            yield
        finally:
            self.original.__code__ = code


def mutants_of(function: Callable[..., Any]) -> list[Mutant]:
    """All mutants of a backward function, or of a helper that one calls, in the order of its lines.

    The first argument is taken for dy, the others for what the forward saved. Two changes that give the same source
    text are one mutant.

    Raises:
        ValueError: not a plain function with its source in a file, or one that uses variables of a function around it.
    """
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        raise ValueError(f"{function!r} has no source of its own to mutate: give a function made with `def`")
    if function.__closure__:
        raise ValueError(
            f"{function.__qualname__} uses variables of the function around it: define it at the top level of a module"
        )
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise ValueError(f"the source of {function.__qualname__} cannot be read: define it in a file") from None
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    found: list[Mutant] = []
    texts, names = {ast.unparse(definition)}, Counter[str]()
    changes = [(kind, change) for kind, changes_of in KINDS.items() for change in changes_of(definition)]
    for kind, change in sorted(changes, key=lambda pair: (pair[1].at.lineno, pair[1].at.col_offset)):
        changed = _rebuilt(definition, change.old, change.new)
        assert isinstance(changed, ast.FunctionDef)
        text = ast.unparse(changed)
        if text in texts:
            continue
        texts.add(text)
        name = f"{_label(function)}: {kind}, line {change.at.lineno}: {change.before} -> {change.after}"
        names[name] += 1
        name += f" ({names[name]})" if names[name] > 1 else ""  # the same text twice on one line
        mutant = _compiled(changed, function)
        found.append(Mutant(name, kind, change.at.lineno, change.before, change.after, mutant, function))
    return found


def _label(function: FunctionType) -> str:
    """`layernorm` for layernorm_backward; a method with its class."""
    return function.__qualname__.removesuffix("_backward")


def _rebuilt(node: Any, old: ast.AST, new: ast.AST) -> Any:
    """A copy of a tree with `new` in place of `old`."""
    if node is old:
        return new
    if isinstance(node, list):
        return [_rebuilt(child, old, new) for child in node]
    if not isinstance(node, ast.AST):
        return node
    copy = type(node)(**{name: _rebuilt(value, old, new) for name, value in ast.iter_fields(node)})
    return ast.copy_location(copy, node)


def _compiled(definition: ast.FunctionDef, original: FunctionType) -> FunctionType:
    """The function of this definition, with the original's globals and defaults; nothing is executed."""
    called = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)} & EFFECTS
    if called:
        names = [ast.alias(name) for name in sorted(called)]
        definition.body.insert(0, ast.ImportFrom(effects.__name__, names, 0))
    module = ast.Module([ast.increment_lineno(_located(definition), original.__code__.co_firstlineno - 1)], [])
    flags = original.__code__.co_flags & annotations.compiler_flag
    code = compile(module, original.__code__.co_filename, "exec", flags, dont_inherit=True)
    inner = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == original.__name__)
    mutant = FunctionType(inner, original.__globals__, original.__name__, original.__defaults__)
    mutant.__kwdefaults__ = original.__kwdefaults__
    mutant.__qualname__, mutant.__doc__ = original.__qualname__, original.__doc__
    return mutant


def _located(definition: ast.FunctionDef) -> ast.FunctionDef:
    """A copy that can be shifted, each node with a place in the source: nodes of a change may be in use elsewhere."""
    copy = _rebuilt(definition, ast.Pass(), ast.Pass())
    assert isinstance(copy, ast.FunctionDef)
    return ast.fix_missing_locations(copy)
