"""Whether a function can be run again without anybody noticing: as far as its source tells, it only computes."""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import operator
from types import CodeType, FunctionType

from autograd.debug.debuggers import HELPERS
from autograd.debug.in_place import changed_arguments, root_of

FUTURE = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))
_LEAVING_TRACES = {"delattr", "eval", "exec", "input", "setattr"}


def is_as_imported(function: FunctionType) -> bool:
    """Whether the source is still that of the function: compiled, the whole file has the same code in this place."""
    own = function.__code__
    lines, _ = inspect.findsource(function)
    found = [compile("".join(lines), "<source>", "exec", own.co_flags & FUTURE, dont_inherit=True)]
    for code in found:  # grows meanwhile
        found += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    same = operator.attrgetter("co_qualname", "co_firstlineno", "co_code", "co_names", "co_consts")
    return any(same(code) == same(own) for code in found)


def is_stepped_over(function: FunctionType) -> bool:
    """By debuggers, as a helper that has nothing to show."""
    module = function.__module__ or ""
    return any(module == helper or module.startswith(f"{helper}.") for helper in HELPERS)


def leaves_traces(node: ast.AST, own: set[str], function: FunctionType) -> bool:
    """Whether it may change anything but what the function's own names stand for; or needs more care than is taken."""
    if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return isinstance(node, ast.Attribute) or root_of(node) not in own
    if isinstance(node, ast.Call):
        changed = [a for a in changed_arguments(node, function) if isinstance(a, ast.Name | ast.Subscript)]
        return any(root_of(a) not in own for a in changed)
    if isinstance(node, ast.Name):
        return node.id in _LEAVING_TRACES
    return isinstance(node, ast.Global | ast.Nonlocal | ast.ClassDef | ast.Match)
