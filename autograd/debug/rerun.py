"""A function once more, on the same arguments, with a look at every expression that computes numbers.

Its locals at the return, which `trace` reads, do not tell which line made a number: arrays are changed in place, and
most expressions have no name. So its source is compiled a second time with each operator and call handed to a `Run`,
and so are the functions it calls, but for those that debuggers step over.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np

from autograd.debug.in_place import root_of
from autograd.debug.repeatable import FUTURE, is_as_imported, is_stepped_over, leaves_traces
from autograd.debug.source import listing, parsed

FILE = "<a function once more>"  # of the compiled copies: no debugger has a breakpoint there
_EYES = "_autograd_eyes"  # in the copies, what expressions are handed to
_NO_PLAIN_FUNCTION = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_OF_THE_FRAME = {"super", "locals", "vars", "dir"}  # calls that depend on where they stand


@dataclass(frozen=True, eq=False)
class Site:
    """An operator or a call in the source of a function.

    Attributes:
        function: its name.
        file: as Python knows it.
        line: where the expression begins.
        expression: its text.
        statement: text of the statement it is part of; "" of one that holds others, such as a loop.
        symbol: name of the function in `operator`, "" of a call.
        is_own: the receiver of the call is a variable of the function.
        operands: text of both sides; of a call those of the receiver, "" where it has none, and of the arguments in
            order, None where one stands for several.
    """

    function: str
    file: str
    line: int
    expression: str
    statement: str
    symbol: str
    is_own: bool
    operands: tuple[str | None, ...]


@dataclass(frozen=True)
class Copy:
    """A function compiled once more.

    Attributes:
        original: the function.
        code: of the copy.
        sites: what its expressions are numbered by.
    """

    original: FunctionType
    code: CodeType
    sites: tuple[Site, ...]

    def seen_by(self, eyes: object) -> FunctionType:
        """The copy, whose expressions call the methods `binary`, `augmented`, `augmented_item`, `call` and `stored`."""
        f = self.original
        cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)) | {_EYES: CellType(eyes)}
        closure = tuple(cells[name] for name in self.code.co_freevars)
        function = FunctionType(self.code, f.__globals__, f.__name__, f.__defaults__, closure)
        function.__kwdefaults__ = f.__kwdefaults__
        return function


@functools.cache
def copy_of(function: Callable[..., Any]) -> Copy | None:
    """None of what is no plain function of Python's, has no source, does more than compute, or is stepped over."""
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    code = function.__code__
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    if any(isinstance(x, dict | list | np.ndarray | set) for x in defaults):  # it may keep something there
        return None
    if code.co_flags & _NO_PLAIN_FUNCTION or is_stepped_over(function):
        return None
    tree = parsed(listing(function))
    own = {*code.co_varnames, *code.co_cellvars}
    if tree is None or any(leaves_traces(node, own, function) for node in ast.walk(tree)):
        return None
    if not is_as_imported(function):
        return None
    tree.decorator_list, tree.args = [], _without_annotations(tree.args)
    marked = _Marked(code, own, listing(function).lines)
    marked.visit(tree)
    return Copy(function, _compiled(tree, function), tuple(marked.sites))


def _without_annotations(arguments: ast.arguments) -> ast.arguments:
    for a in ast.walk(arguments):
        if isinstance(a, ast.arg):
            a.annotation = None
    return arguments


def _compiled(tree: ast.FunctionDef, function: FunctionType) -> CodeType:
    """Code of the function, which finds the eyes where it finds what belongs to its enclosing functions."""
    outside = ast.parse(f"def outside({', '.join((*function.__code__.co_freevars, _EYES))}): pass")
    (definition,) = outside.body
    assert isinstance(definition, ast.FunctionDef)
    definition.body = [tree]
    flags = function.__code__.co_flags & FUTURE
    code = compile(ast.fix_missing_locations(outside), FILE, "exec", flags, dont_inherit=True)
    (enclosing,) = _codes_in(code, "outside")
    return _codes_in(enclosing, tree.name)[-1]


def _codes_in(code: CodeType, name: str) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType) and constant.co_name == name]


class _Marked(ast.NodeTransformer):
    """Hands each operator and call to the eyes: `a * b` becomes `eyes.binary(3, a, b)`."""

    def __init__(self, code: CodeType, own: set[str], lines: list[str]) -> None:
        """
        Args:
            own: names of its variables.
        """
        self.sites: list[Site] = []
        self._code, self._own = code, own
        self._lines = dict(enumerate(textwrap.dedent("\n".join(lines)).split("\n"), code.co_firstlineno))
        self._statement: ast.stmt | None = None

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.stmt):
            return super().visit(node)
        before, self._statement = self._statement, copy.deepcopy(node)  # whose text stays what it was
        marked = super().visit(node)
        self._statement = before
        return marked

    def _text(self, node: ast.AST) -> str:
        """As it is written, where it is in one line."""
        at: Any = node
        if at.lineno != at.end_lineno:
            return ast.unparse(node)
        return self._lines[at.lineno].encode()[at.col_offset : at.end_col_offset].decode()

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        return node  # defaults are those of the original

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        site = self._site(node, type(node.op).__name__, (self._text(node.left), self._text(node.right)))
        return self._handed("binary", site, node, [self.visit(node.left), self.visit(node.right)])

    def visit_Call(self, node: ast.Call) -> Any:
        f = node.func
        if isinstance(f, ast.Name) and f.id in _OF_THE_FRAME:
            self.generic_visit(node)
            return node
        starred = (ast.Starred,)
        arguments = (None if isinstance(a, starred) else self._text(a) for a in node.args)
        keywords = (None if k.arg is None else self._text(k.value) for k in node.keywords)
        receiver = self._text(f.value) if isinstance(f, ast.Attribute) else ""
        site = self._site(node, "", (receiver, *arguments, *keywords))
        self.generic_visit(node)
        return self._handed("call", site, node, [node.func, *node.args], node.keywords)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        target = node.target
        site = self._site(node, f"i{type(node.op).__name__}", (self._text(target), self._text(node.value)))
        value = self.visit(node.value)
        if isinstance(target, ast.Subscript):
            whole, index = self.visit(target.value), _as_value(self.visit(target.slice))
            return _at(ast.Expr(self._handed("augmented_item", site, node, [whole, index, value])), node)
        assert isinstance(target, ast.Name)  # copy_of has refused attributes
        now = _at(ast.Name(target.id, ast.Load()), node)
        return _at(ast.Assign([target], self._handed("augmented", site, node, [now, value])), node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Subscript) or _calls(target.value):
            return self.generic_visit(node)
        site = self._site(node, "", (self._text(node.value),))
        whole = copy.deepcopy(target.value)  # which is evaluated twice
        self.generic_visit(node)
        node.value = self._handed("stored", site, node, [whole, node.value])
        return node

    def _site(self, node: ast.expr | ast.stmt, symbol: str, operands: tuple[str | None, ...]) -> int:
        statement = self._statement
        simple = statement is not None and not hasattr(statement, "body")
        self.sites.append(
            Site(
                function=self._code.co_name,
                file=self._code.co_filename,
                line=node.lineno,
                expression=self._text(node),
                statement=self._text(statement) if statement is not None and simple else "",
                symbol=_SYMBOLS.get(symbol, symbol.lower()),
                is_own=root_of(node) in self._own,
                operands=operands,
            )
        )
        return len(self.sites) - 1

    def _handed(
        self, method: str, site: int, node: ast.AST, args: list[ast.expr], keywords: list[ast.keyword] | None = None
    ) -> Any:
        eyes = ast.Attribute(ast.Name(_EYES, ast.Load()), method, ast.Load())
        return _at(ast.Call(eyes, [ast.Constant(site), *args], keywords or []), node)


_SYMBOLS = {
    "Mult": "mul",
    "Div": "truediv",
    "FloorDiv": "floordiv",
    "MatMult": "matmul",
    "BitAnd": "and_",
    "BitOr": "or_",
    "BitXor": "xor",
}
_SYMBOLS |= {f"i{name}": f"i{symbol.rstrip('_')}" for name, symbol in _SYMBOLS.items()}


def _at(node: Any, place: ast.AST) -> Any:
    return ast.fix_missing_locations(ast.copy_location(node, place))


def _calls(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Call | ast.NamedExpr) for part in ast.walk(node))


def _as_value(index: ast.expr) -> ast.expr:
    """What stands between brackets as an expression of its own: `1:` as `slice(1, None, None)`."""
    if isinstance(index, ast.Tuple):
        return ast.Tuple([_as_value(part) for part in index.elts], ast.Load())
    if isinstance(index, ast.Slice):
        ends = [end or ast.Constant(None) for end in (index.lower, index.upper, index.step)]
        return ast.Call(ast.Name("slice", ast.Load()), ends, [])
    return index
