"""Which call of which layer an op is run in, and by which name its result goes there.

A result is named after the layer that returns it ("blocks.0.attn.qkv"), else after the local variable that it is bound
to in the layer ("blocks.0.attn.q"), else after its op ("blocks.0.attn.attention"), with a number from the second on.
Variables are looked at when a frame returns, so `Scopes.left` has to be told of returns.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from autograd.op import Op
from autograd.origin import layer_of
from autograd.tensor import Tensor

_OPERATORS = str(Path(__file__).parent.parent / "operators.py")
OP_CALL = Op.__call__.__code__
FORWARD_S, RESULT_S, BACKWARD_S = range(3)  # of one op: locals of its forward, what it returns, locals of its backward


def called_op(frame: FrameType) -> Op | None:
    """The op whose `__call__` called this function directly."""
    caller = frame.f_back
    return caller.f_locals["self"] if caller is not None and caller.f_code is OP_CALL else None


def code_of(function: Any) -> CodeType | None:
    """None of what is not written in Python."""
    return getattr(function, "__code__", None)


class Scope:
    """One call of a layer, or what no layer calls.

    Attributes:
        path: of the layer; "" of the outermost and outside of layers.
        first: number of the first op in it.
        numbering: what is named alike in scopes that share this gets numbers.
    """

    __slots__ = ("first", "numbering", "path")

    def __init__(self, path: str, first: int, numbering: object) -> None:
        self.path, self.first, self.numbering = path, first, numbering

    def name(self, base: str) -> str:
        return f"{self.path}.{base}" if self.path else base


class Named:
    """Something that gets a name: an array that an op returned, or a local one of its functions.

    Attributes:
        scope: where it was made.
        order: of naming: number of the op, and FORWARD_S, RESULT_S or BACKWARD_S.
        base: its name in the scope where it is bound to no variable.
        variables: those it is bound to in the scope, which are its names instead.
        outputs: paths of the layers that return it.
        elsewhere: variables outside of layers.
    """

    __slots__ = ("__weakref__", "base", "elsewhere", "order", "outputs", "scope", "variables")

    def __init__(self, scope: Scope, order: tuple[int, int], base: str) -> None:
        self.scope, self.order, self.base = scope, order, base
        self.variables: dict[str, None] = {}  # in order
        self.outputs: list[str] = []
        self.elsewhere: dict[str, None] = {}


N = TypeVar("N", bound=Named)


@dataclass
class _Frame:
    """A function that runs.

    Attributes:
        scope: in which its ops get their names.
        prefix: what the names begin with of results that it binds to no variable: in a composition, the op.
        layer: whose method it is.
        results: of ops, which it may bind or return.
    """

    scope: Scope
    prefix: str = ""
    layer: Any = None
    results: list[Named] = field(default_factory=list)


class Scopes:
    """The frames that run, from those of layers to those of compositions, and the names that results get in them.

    Args:
        path_of: path of a layer.
        bottom: the frame that looks on; those that called it are not looked at.
    """

    def __init__(self, path_of: Callable[[Any], str], bottom: FrameType) -> None:
        self._path_of, self._bottom = path_of, bottom
        self._frames: dict[FrameType, _Frame] = {}
        self._calls: dict[FrameType, Scope] = {}  # the frame by which a layer was called -> of that call
        self._outside, self._model_called = Scope("", 0, object()), False
        self.by_tensor: WeakKeyDictionary[Tensor, Named] = WeakKeyDictionary()
        self.n_ops = 0
        self.n_passes = 0

    def new_pass(self) -> None:
        """Outside of layers, and in the outermost one, names count from the start again."""
        self._outside, self._model_called = Scope("", self.n_ops, object()), False
        self.n_passes += 1
        for frame, entry in self._frames.items():
            if frame not in self._calls and entry.layer is None and not entry.scope.path:
                entry.scope = self._outside

    def here(self, frame: FrameType) -> tuple[Scope, str]:
        """Scope of an op that is called in or below `frame`, and what its name begins with."""
        entry = self._entry(frame)
        return entry.scope, entry.prefix

    def add(self, result: Named, y: Tensor, frame: FrameType) -> None:
        """Tell of what an op called in or below `frame` returned."""
        self._entry(frame).results.append(result)
        self.by_tensor[y] = result
        self.n_ops += 1

    def left(self, frame: FrameType, returned: Any) -> None:
        """Tell of the return of a Python function, any."""
        call = self._calls.pop(frame, None)
        entry = self._frames.pop(frame, None)
        if entry is None or not entry.results:
            return
        out = {self.by_tensor.get(y) for y in _tensors(returned)}
        op = called_op(frame)  # then this is its composition
        self._bind(frame, entry, out if op is not None else set())
        passed_on = [result for result in entry.results if result in out]
        if not passed_on or frame is self._bottom or frame.f_back is None:
            return
        above = self._entry(frame.f_back)
        for result in passed_on:
            if call is not None and call.path and result.order[0] >= call.first:
                result.outputs.append(call.path)
            if op is not None:  # named as if the op had not been taken apart
                result.base = above.prefix + op.name
            above.results.append(result)

    def bind_open(self) -> None:
        """Look at the variables of the functions that still run."""
        for frame, entry in self._frames.items():
            self._bind(frame, entry, set())

    def keep_only(self, results: set[Named]) -> None:
        """Forget all others."""
        for entry in self._frames.values():
            entry.results = [result for result in entry.results if result in results]

    def close(self) -> None:
        """Let go of the frames."""
        self._frames.clear()
        self._calls.clear()
        if sys.version_info < (3, 13) and self._bottom.f_code.co_flags & inspect.CO_OPTIMIZED:
            self._bottom.f_locals.clear()  # Python's copy, which would keep what the function lets go of

    def _bind(self, frame: FrameType, entry: _Frame, unnamed: set[Named | None]) -> None:
        results = set(entry.results) - unnamed
        if not results:
            return
        for variable, value in frame.f_locals.items():
            result = self.by_tensor.get(value) if isinstance(value, Tensor) else None
            if result is None or result not in results or variable.startswith("_"):
                continue
            if result.scope is entry.scope and not result.outputs:
                result.variables[variable] = None
            elif entry.layer is None and not entry.scope.path:
                result.elsewhere[variable] = None

    def _entry(self, frame: FrameType) -> _Frame:
        while frame.f_back is not None and frame is not self._bottom and _is_between(frame):
            frame = frame.f_back
        entry = self._frames.get(frame)
        if entry is None:
            entry = self._frames[frame] = self._made(frame)
        return entry

    def _made(self, frame: FrameType) -> _Frame:
        if frame is self._bottom or frame.f_back is None:
            return _Frame(self._outside)
        layer = layer_of(frame)
        above = self._entry(frame.f_back)
        if layer is None or layer is above.layer:
            op = called_op(frame)
            return _Frame(above.scope, above.prefix + (f"{op.name}." if op else ""), above.layer)
        path = self._path_of(layer)
        if not path and self._model_called:
            self.new_pass()
        self._model_called |= not path
        scope = self._calls[frame] = Scope(path, self.n_ops, object() if path else self._outside.numbering)
        return _Frame(scope, "", layer)


def _is_between(frame: FrameType) -> bool:
    """Whether a frame is part of an op's call, or only an expression's."""
    code = frame.f_code
    if code is OP_CALL or code.co_filename == _OPERATORS:
        return True
    return code.co_name.startswith("<") and code.co_name != "<module>" and called_op(frame) is None


def _tensors(returned: Any) -> Iterable[Tensor]:
    values = returned if isinstance(returned, (tuple, list)) else (returned,)
    return (value for value in values if isinstance(value, Tensor))


def named_table(every: Iterable[N], taken: Iterable[str]) -> dict[str, N]:
    """All names there are, each of the last that has it; none of those in `taken`."""
    every = sorted(every, key=operator.attrgetter("order"))
    outputs = {path: named for named in every for path in named.outputs}
    elsewhere = {variable: named for named in every for variable in named.elsewhere}
    taken = {*taken, *outputs}
    counts: Counter[tuple[object, str]] = Counter()
    inside: dict[str, N] = {}
    for named in every:
        for base in () if named.outputs else named.variables or (named.base,):
            name = ""
            while not name or name in taken:
                counts[named.scope.numbering, base] += 1
                n = counts[named.scope.numbering, base]
                name = named.scope.name(base if n == 1 else f"{base}_{n}")
            inside[name] = named
    return {**elsewhere, **inside, **outputs}
