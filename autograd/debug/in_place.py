"""Which local arrays of a function still hold, at its return, what they were bound to: found by reading its source.

A name is stale when its array was changed in place afterwards, under its own name or under another of the same memory:

    dprobs = dy @ v^T
    dprobs -= ...                                      dprobs is stale: no gradient of probs any more
    dscores = np.multiply(probs, dprobs, out=dprobs)   dscores holds

Filling an array that was made blank (`np.empty`, `zeros`) is no change, nor is `x[...] = y` of x itself. Where the
source leaves open what runs (branches, loops), a name counts as stale.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autograd.backends import Array
from autograd.debug.source import listing, parsed

_BLANK = {"empty", "empty_like", "zeros", "zeros_like"}
_VIEWS = {"reshape", "transpose", "swapaxes", "ravel", "view", "squeeze"}
_FIRST_CHANGED = {"copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis", "at"}
_CHANGING_METHODS = {"sort", "fill", "partition", "put", "itemset", "resize", "byteswap"}
_PARAMETER = (0, 0)  # the place where parameters are bound
_Blocks = tuple[ast.AST, ...]  # compound statements around a statement, outermost first


@dataclass(frozen=True)
class _Place:
    """Of a statement: where it stands, and in which branches and loops."""

    at: tuple[int, int]
    blocks: _Blocks

    def may_run_before(self, other: _Place) -> bool:
        """Another statement that stands before `other`, or runs before it in a later turn of a loop of both."""
        if self.at == other.at:
            return False
        loops = (ast.For, ast.While)
        shared = any(isinstance(block, loops) and block in other.blocks for block in self.blocks)
        return shared or self.at < other.at

    def certainly_follows(self, other: _Place) -> bool:
        """It runs whenever `other` has run, and after it (or is the same statement)."""
        return not self.may_run_before(other) and self.blocks == other.blocks[: len(self.blocks)]


@dataclass(frozen=True)
class _Change:
    name: str
    place: _Place
    fills: bool  # all of the array gets new values
    adds: bool  # to what is there


@dataclass
class _Reading:
    """What the source says of each name."""

    bound: dict[str, list[_Place]] = field(default_factory=dict)
    blank: dict[str, str] = field(default_factory=dict)  # made blank -> the name of which it is a view, or its own
    changes: list[_Change] = field(default_factory=list)


def stale_names(function: Callable[..., Any], arrays: dict[str, Array]) -> dict[str, int | None]:
    """Names of `arrays`, the local arrays of `function` at its return, that do not hold what they were bound to.

    Returns:
        The line of the change, by name; without source every name is stale, at line None.
    """
    reading = _read(function)
    if reading is None:
        return dict.fromkeys(arrays)
    stale: dict[str, int | None] = {}
    filled: set[str] = set()
    for change in reading.changes:
        whole = reading.blank.get(change.name)
        first = change.name not in filled
        if change.fills:
            filled |= {change.name, whole or change.name}
        if whole and first:
            continue  # it is being made
        for name, array in arrays.items():
            own = name == change.name
            if own and change.fills and not change.adds:
                continue
            places = reading.bound.get(name, [])
            if any(p.certainly_follows(change.place) for p in places):
                continue
            if places and not any(p.may_run_before(change.place) for p in places):
                continue
            if own or _overlap(array, arrays.get(change.name)):
                stale[name] = change.place.at[0]
    return stale


def line_of(function: Callable[..., Any], name: str) -> int:
    """The line where a local name is bound last; the function's own where its source is not there."""
    reading = _read(function)
    places = reading.bound.get(name, []) if reading else []
    return max((place.at[0] for place in places), default=0) or function.__code__.co_firstlineno


def _overlap(a: Array, b: Array | None) -> bool:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return b is not None and a is b
    work: Any = 10_000  # NumPy's types leave out what its documentation allows
    try:
        return np.shares_memory(a, b, max_work=work)
    except np.exceptions.TooHardError:
        return True


@functools.cache
def _read(function: Callable[..., Any]) -> _Reading | None:
    tree = parsed(listing(function))
    if tree is None:
        return None
    reading = _Reading()
    arguments = tree.args
    for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if a is not None:
            reading.bound[a.arg] = [_Place(_PARAMETER, ())]
    for statement, blocks in _statements(tree.body, ()):
        _read_statement(statement, _Place((statement.lineno, statement.col_offset), blocks), function, reading)
    return reading


def _statements(body: list[ast.stmt], blocks: _Blocks) -> Iterator[tuple[ast.stmt, _Blocks]]:
    """Statements in the order of the source, without those of inner functions; of a compound one, first its head."""
    for statement in body:
        yield statement, blocks
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            continue
        inside = blocks if isinstance(statement, ast.With) else (*blocks, statement)
        for part in ("body", "orelse", "finalbody"):
            branch = inside if part == "body" or isinstance(statement, ast.With) else (*inside, ast.Constant(part))
            yield from _statements(getattr(statement, part, []), branch)
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body, (*inside, handler))


def _read_statement(statement: ast.stmt, place: _Place, function: Callable[..., Any], reading: _Reading) -> None:
    def change(target: ast.AST | None, *, fills: bool, adds: bool = False) -> None:
        name = _root(target)
        if name is not None:
            reading.changes.append(_Change(name, place, fills, adds))

    heads = [n for n in ast.iter_child_nodes(statement) if not isinstance(n, (ast.stmt, ast.ExceptHandler))]
    for node in (n for head in heads for n in ast.walk(head)):
        if isinstance(node, ast.Call):
            for changed in _changed_arguments(node, function):
                change(changed, fills=True, adds=True)
        if isinstance(node, ast.NamedExpr):
            _bind(node.target, node.value, place, reading)
    if isinstance(statement, ast.AugAssign):
        change(statement.target, fills=False, adds=True)
    targets: list[ast.expr] = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.For)):
        value = getattr(statement, "value", None)
        for target in targets:
            for part in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                if isinstance(part, ast.Subscript):
                    change(part, fills=_is_whole(part.slice))
                else:
                    _bind(part, value, place, reading)
    for item in getattr(statement, "items", []):
        if item.optional_vars is not None:
            _bind(item.optional_vars, None, place, reading)


def _bind(target: ast.AST, value: ast.AST | None, place: _Place, reading: _Reading) -> None:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            reading.bound.setdefault(node.id, []).append(place)
            called = _last_name(value.func) if isinstance(value, ast.Call) else None
            root = _root(value)
            reading.blank.pop(node.id, None)
            if called in _BLANK:
                reading.blank[node.id] = node.id
            elif root in reading.blank and _is_view(value) and root not in {change.name for change in reading.changes}:
                reading.blank[node.id] = reading.blank[root]


def _changed_arguments(call: ast.Call, function: Callable[..., Any]) -> list[ast.AST]:
    """What a call changes in place: its `out=`, or arguments that its own source changes."""
    changed: list[ast.AST] = []
    for keyword in call.keywords:
        if keyword.arg == "out":
            changed += keyword.value.elts if isinstance(keyword.value, ast.Tuple) else [keyword.value]
    name = _last_name(call.func)
    if name in _FIRST_CHANGED:
        changed += call.args[:1]
    elif isinstance(call.func, ast.Attribute):
        ufunc = getattr(np, call.func.attr, None)
        if _root(call.func) == "np" and isinstance(ufunc, np.ufunc):
            changed += call.args[ufunc.nin :]
        elif name in _CHANGING_METHODS and _root(call.func) != "np":
            changed.append(call.func.value)
    else:
        called = function.__globals__.get(name or "")
        if inspect.isfunction(called) and called is not function:
            reading = _read(called)
            of_parameters = {c.name for c in reading.changes if _is_argument(reading, c)} if reading else set()
            named = zip(inspect.signature(called).parameters, call.args, strict=False)
            changed += [argument for parameter, argument in named if parameter in of_parameters]
    return changed


def _is_argument(reading: _Reading, change: _Change) -> bool:
    """Whether what is changed under the name of a parameter may be the argument, and not what was bound to it since."""
    places = reading.bound.get(change.name, [])
    parameter = bool(places) and places[0].at == _PARAMETER
    return parameter and not any(p.at < change.place.at and not p.blocks for p in places[1:])


def _is_whole(index: ast.expr) -> bool:
    """Whether it is `[...]` or `[:]`."""
    return (isinstance(index, ast.Constant) and index.value is Ellipsis) or (
        isinstance(index, ast.Slice) and index.lower is index.upper is index.step is None
    )


def _is_view(value: ast.AST | None) -> bool:
    return isinstance(value, (ast.Name, ast.Subscript, ast.Attribute)) or (
        isinstance(value, ast.Call) and _last_name(value.func) in _VIEWS
    )


def _last_name(function: ast.AST) -> str | None:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _root(node: ast.AST | None) -> str | None:
    """`x` of `x`, `x[i]`, `x.T`, `x.reshape(n)[i]`; None of anything else."""
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
