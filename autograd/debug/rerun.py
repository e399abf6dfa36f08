"""A function once more, on the same arguments, with a look at every expression that computes numbers.

Its locals at the return, which `trace` reads, do not tell which line made a number: arrays are changed in place, and
most expressions have no name. So its source is compiled a second time with each operator and call handed to a `Run`,
and so are the functions it calls, but for those that debuggers step over.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from autograd.debug.repeatable import FUTURE, CannotTell, frozen, is_as_imported, variables
from autograd.debug.source import listing, parsed

FILE = "<a function once more>"  # of the compiled copies: no debugger has a breakpoint there
_EYES = "_autograd_eyes"  # in the copies, what expressions are handed to
_SITES = "_autograd_sites"  # and what they are


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
        operands: text of both sides; of a call those of the receiver, "" where it has none, and of the arguments in
            order, None where one stands for several.
    """

    function: str
    file: str
    line: int
    expression: str
    statement: str
    symbol: str
    operands: tuple[str | None, ...]


@dataclass(frozen=True)
class Copy:
    """A function compiled once more.

    Attributes:
        original: the function.
        code: of the copy.
        variables: those it has from outside, and its sites.
    """

    original: FunctionType
    code: CodeType
    variables: dict[str, Any]

    def seen_by(self, eyes: object) -> FunctionType:
        """The copy, whose expressions call the methods `binary`, `augmented_item`, `call` and `stored`."""
        f = self.original
        function = FunctionType(self.code, self.variables | {_EYES: eyes}, f.__name__, frozen(f.__defaults__))
        function.__kwdefaults__ = {name: frozen(x) for name, x in (f.__kwdefaults__ or {}).items()}
        return function


def copy_of(function: FunctionType) -> Copy:
    """
    Raises:
        CannotTell: it is wrapped, has no source, or may do more than compute.
    """
    own = listing(function)
    tree = parsed(own)
    if tree is None or hasattr(function, "__wrapped__") or not is_as_imported(function):
        raise CannotTell
    outside = variables(function, tree)
    marked = _Marked(function.__code__, own.lines)
    tree.body = [marked.visit(statement) for statement in tree.body]
    flags = function.__code__.co_flags & FUTURE
    module = compile(ast.fix_missing_locations(ast.Module([tree], [])), FILE, "exec", flags, dont_inherit=True)
    codes = [x for x in module.co_consts if isinstance(x, CodeType) and x.co_name == tree.name]
    return Copy(function, codes[-1], outside | {_SITES: marked.sites})


class _Marked(ast.NodeTransformer):
    """Hands each operator and call to the eyes: `a * b` becomes `eyes.binary(sites[3], a, b)`."""

    def __init__(self, code: CodeType, lines: list[str]) -> None:
        self.sites: list[Site] = []
        self._code = code
        self._lines = dict(enumerate(textwrap.dedent("\n".join(lines)).split("\n"), code.co_firstlineno))
        self._statement = ""

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.stmt):
            return super().visit(node)
        before, self._statement = self._statement, "" if hasattr(node, "body") else self._text(node)
        marked = super().visit(node)
        self._statement = before
        return marked

    def _text(self, node: ast.AST) -> str:
        """As it is written, where it is in one line."""
        at: Any = node
        if at.lineno != at.end_lineno:
            return ast.unparse(node)
        return self._lines[at.lineno].encode()[at.col_offset : at.end_col_offset].decode()

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        site = self._site(node, type(node.op).__name__, (self._text(node.left), self._text(node.right)))
        return self._handed("binary", site, node, [self.visit(node.left), self.visit(node.right)])

    def visit_Call(self, node: ast.Call) -> Any:
        arguments = (None if isinstance(a, ast.Starred) else self._text(a) for a in node.args)
        keywords = (None if k.arg is None else self._text(k.value) for k in node.keywords)
        receiver = self._text(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        site = self._site(node, "", (receiver, *arguments, *keywords))
        self.generic_visit(node)
        return self._handed("call", site, node, [node.func, *node.args], node.keywords)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        target = node.target
        site = self._site(node, f"i{type(node.op).__name__}", (self._text(target), self._text(node.value)))
        value = self.visit(node.value)
        if isinstance(target, ast.Subscript):
            whole, index = self.visit(target.value), self.visit(target.slice)
            return ast.copy_location(ast.Expr(self._handed("augmented_item", site, node, [whole, index, value])), node)
        assert isinstance(target, ast.Name)  # attributes are refused
        now = ast.copy_location(ast.Name(target.id, ast.Load()), node)
        return ast.copy_location(ast.Assign([target], self._handed("binary", site, node, [now, value])), node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Subscript):
            return self.generic_visit(node)
        site = self._site(node, "", (self._text(node.value),))
        parts = [self.visit(node.value), self.visit(target.value), self.visit(target.slice)]
        return ast.copy_location(ast.Expr(self._handed("stored", site, node, parts)), node)

    def _site(self, node: ast.expr | ast.stmt, symbol: str, operands: tuple[str | None, ...]) -> int:
        name, file, symbol = self._code.co_name, self._code.co_filename, _SYMBOLS.get(symbol, symbol.lower())
        self.sites.append(Site(name, file, node.lineno, self._text(node), self._statement, symbol, operands))
        return len(self.sites) - 1

    def _handed(
        self, method: str, site: int, node: ast.AST, args: list[ast.expr], keywords: list[ast.keyword] | None = None
    ) -> Any:
        look = ast.Attribute(ast.Name(_EYES, ast.Load()), method, ast.Load())
        which = ast.Subscript(ast.Name(_SITES, ast.Load()), ast.Constant(site), ast.Load())
        return ast.copy_location(ast.Call(look, [which, *args], keywords or []), node)


_SYMBOLS = {
    "Mult": "mul",
    "Div": "truediv",
    "MatMult": "matmul",
    "BitAnd": "and_",
    "BitOr": "or_",
    "BitXor": "xor",
}
_SYMBOLS |= {f"i{name}": f"i{symbol.rstrip('_')}" for name, symbol in _SYMBOLS.items()}
