"""Whether a function can be run again without anybody noticing, and with what.

What a run has from outside, arguments and variables alike, it is handed so that it cannot change it: arrays read-only,
and of all else only what never changes. What needs more, or may reach further in other ways, is not run again.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import operator
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np

from autograd.backends import to_host
from autograd.debug.debuggers import HELPERS
from autograd.tensor import Tensor

FUTURE = __future__.annotations.compiler_flag
_NUMPY_FUNCTION: type = type(np.sum)
_VALUES = (int, float, complex, str, bytes, slice, range, np.generic, np.dtype, EllipsisType, NoneType)
UNCHANGING = (*_VALUES, FunctionType, BuiltinFunctionType, ModuleType, type, np.ufunc, _NUMPY_FUNCTION)
_COMPUTING = {"builtins", "cmath", "functools", "itertools", "math", "numpy", "operator", "scipy"}
_OWNERS = (*_VALUES, np.ndarray, np.ufunc, tuple, list, dict, set)  # whose methods change nothing but themselves
_WRITING = {"dump", "memmap", "setflags", "tofile"}
_REACHING = {"delattr", "dir", "eval", "exec", "getattr", "globals", "input", "locals", "setattr", "super", "vars"}
_REFUSED = (ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.ClassDef, ast.Match)


class CannotTell(Exception):
    """A function cannot be run again without leaving traces, or would take too long."""


def frozen(x: Any) -> Any:
    """The same value such that nobody who is handed it can change it: of an array a view that is read-only.

    Raises:
        CannotTell: it may change, as a list may, or an object of the user's.
    """
    x = x.data if isinstance(x, Tensor) else x
    if type(x) is tuple:
        return tuple(map(frozen, x))
    if isinstance(x, UNCHANGING) and not _may_keep_something(x):
        return x
    if hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, type):
        view = to_host(x).view()
        view.flags.writeable = False
        return view
    raise CannotTell


def _may_keep_something(x: Any) -> bool:
    """Whether it is a module or class of the user's, a function with attributes, or one that belongs to an object."""
    if isinstance(x, ModuleType):
        return not _is_of(x.__name__, _COMPUTING)
    if isinstance(x, type):
        return not _is_of(x.__module__, _COMPUTING) and not issubclass(x, BaseException)
    if isinstance(x, FunctionType):
        return bool(x.__dict__)
    return not isinstance(getattr(x, "__self__", None), ModuleType | type | NoneType)


def variables(function: FunctionType, tree: ast.FunctionDef) -> dict[str, Any]:
    """Those that the function has from outside, globals and of enclosing functions, frozen.

    Raises:
        CannotTell: it uses others, or may change anything else but what its own names stand for.
    """
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & _names_in(function.__code__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for node in ast.walk(tree):
        is_stored = isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        if is_stored or isinstance(node, _REFUSED) or (isinstance(node, ast.Name) and node.id in _REACHING):
            raise CannotTell
    outside = {name: function.__globals__[name] for name in names & set(function.__globals__)}
    outside |= {name: cell.cell_contents for name, cell in cells}
    return {name: frozen(x) for name, x in outside.items()}


def _names_in(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def only_computes(f: Any) -> bool:
    """Whether a callable that is no function of Python's leaves nothing behind but in what it is handed."""
    owner, name = getattr(f, "__self__", None), getattr(f, "__name__", "")
    if name in _WRITING or name.startswith("save"):
        return False
    if owner is None or isinstance(owner, ModuleType | type):
        module = getattr(f, "__module__", None) or getattr(owner, "__name__", None) or ""
        return _is_of(module, _COMPUTING)
    return isinstance(owner, _OWNERS)


def is_stepped_over(function: FunctionType) -> bool:
    """By debuggers, as a helper that has nothing to show."""
    return _is_of(function.__module__ or "", HELPERS)


def _is_of(module: str, names: Iterable[str]) -> bool:
    """Whether it is one of these modules, or below one."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def is_as_imported(function: FunctionType) -> bool:
    """Whether the source is still that of the function: compiled, the whole file has the same code in this place."""
    own = function.__code__
    lines, _ = inspect.findsource(function)
    same = operator.attrgetter("co_qualname", "co_firstlineno", "co_code", "co_names", "co_consts")
    return any(same(code) == same(own) for code in _codes_in("".join(lines), own.co_flags & FUTURE))


@functools.lru_cache(8)  # files
def _codes_in(source: str, flags: int) -> list[CodeType]:
    found = [compile(source, "<source>", "exec", flags, dont_inherit=True)]
    for code in found:  # grows meanwhile
        found += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return found
