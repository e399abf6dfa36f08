"""Watch ops run: what each returns, the gradient that comes in, and the local arrays of its hand-written functions.

Locals are read when a forward or backward returns, from the function that `sys.setprofile` hands over: no function is
changed for it, and outside of the block it costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from autograd import modes
from autograd.backends import Array
from autograd.backward_pass import running
from autograd.debug.in_place import line_of, stale_names
from autograd.debug.scopes import BACKWARD_S, FORWARD_S, OP_CALL, RESULT_S, Scope, Scopes, called_op, code_of
from autograd.debug.store import Store
from autograd.debug.summary import Summary
from autograd.debug.traced import Entry, Snapshot
from autograd.op import Op
from autograd.origin import Origin, shown
from autograd.tape import Node
from autograd.tensor import Tensor


class Watch:
    """What is seen while it is on, between `start` and `stop`, on this thread.

    Args:
        scopes: to be asked for names.
        store: where arrays go of which more than a summary is kept.
        may_keep: whether arrays of a layer may be among those, by its path.
        new_pass: called when another pass begins.

    Attributes:
        entries: in the order of their ops.
    """

    def __init__(
        self, scopes: Scopes, store: Store, may_keep: Callable[[str], bool], new_pass: Callable[[], None]
    ) -> None:
        self._scopes, self._store, self._may_keep, self._new_pass = scopes, store, may_keep, new_pass
        self.entries: list[Entry] = []
        self._locals: dict[str, Entry] = {}  # of the forward that has just returned
        self._by_node: WeakKeyDictionary[Node, Entry] = WeakKeyDictionary()
        self._backwards: set[CodeType] = set()
        self._ran_backward, self._n_passes = False, 0

    def start(self) -> None:
        self._token = modes.observers.set((*modes.observers.get(), self._observe))
        self._profile: Any = sys.getprofile()
        if self._profile is not None and not callable(self._profile):
            self._profile.disable()  # cProfile's: it cannot be called from here
        sys.setprofile(self._event)

    def stop(self) -> None:
        if self._profile is not None and not callable(self._profile):
            sys.setprofile(None)
            self._profile.enable()
        else:
            sys.setprofile(self._profile)
        modes.observers.reset(self._token)

    def _event(self, frame: FrameType, event: str, value: Any) -> None:
        """Python tells of each call and return."""
        if callable(self._profile):
            self._profile(frame, event, value)
        if event == "call":
            if frame.f_code in self._backwards:
                self._backward_begins(frame)
        elif event == "return":
            if frame.f_code in self._backwards and type(value) in (tuple, list):
                self._backward_returns(frame)
            op = called_op(frame)
            if op is not None and frame.f_code is code_of(op.forward.reference) and type(value) is tuple:
                self._forward_returns(frame, op, value[0])
            self._scopes.left(frame, value)

    def _observe(self, op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any], y: Tensor) -> None:
        """An op has run: called from its `__call__`."""
        frame = sys._getframe(1)
        assert frame.f_code is OP_CALL
        self._look_for_new_pass()
        scope, prefix = self._scopes.here(frame)
        entry = Entry(scope, (self._scopes.n_ops, RESULT_S), prefix + op.name, op.name, self._store)
        origin = Origin(frame) if y.node is None else y.node.origin
        line = "" if origin.caller_line is None else ", " + shown(*origin.caller_line)
        entry.value = self._snapshot(entry, y.data, op.name + line)
        entry.prefix, entry.locals, self._locals = prefix, self._locals, {}
        if y.node is None:
            entry.no_grad = "it was computed under no_grad(), or of nothing that requires a gradient"
        else:
            self._by_node[y.node] = entry
            self._backwards |= {code for code in [code_of(y.node.backward)] if code is not None}
        self.entries.append(entry)
        self._scopes.add(entry, y, frame)

    def _look_for_new_pass(self) -> None:
        """A forward after a backward begins one, and so does another call of the model."""
        if self._ran_backward and running.get() is None:
            self._ran_backward = False
            self._scopes.new_pass()
        if self._scopes.n_passes != self._n_passes:
            self._n_passes = self._scopes.n_passes
            self._new_pass()

    def _forward_returns(self, frame: FrameType, op: Op, y: Any) -> None:
        assert frame.f_back is not None
        self._look_for_new_pass()
        scope, prefix = self._scopes.here(frame.f_back)
        self._locals = {}
        function = op.forward.reference
        arrays, local = _arrays(frame)
        stale = stale_names(function, arrays)
        given = [array for name, array in arrays.items() if name not in local]
        for name in local:
            if any(_same_memory(arrays[name], other) for other in (*given, y)):
                continue  # an input, or the output, in another shape
            entry = self._locals[name] = self._new_local(scope, prefix, op.name, name, (self._scopes.n_ops, FORWARD_S))
            if name in stale:
                entry.no_value = f"changed in place afterwards, {_changed_at(function, stale[name])}"
            else:
                self._set_value(entry, arrays[name], _line_in(function, name))

    def _backward_begins(self, frame: FrameType) -> None:
        entry = self._entry_of(frame)
        if entry is None:
            return
        self._ran_backward = True
        code = frame.f_code
        dy = frame.f_locals[code.co_varnames[0]] if code.co_argcount else frame.f_locals[code.co_varnames[0]][0]
        self._set_grad(entry, dy, f"what came in at {code.co_name}")

    def _backward_returns(self, frame: FrameType) -> None:
        """Gradients of the forward's locals are the backward's, with a `d` before the name."""
        result, run = self._entry_of(frame), running.get()
        if result is None or run is None or run.node is None:
            return
        op, function = run.node.op, run.node.backward
        if not isinstance(op, Op):
            return
        arrays, local = _arrays(frame)
        stale = stale_names(function, arrays)
        given = [array for name, array in arrays.items() if name not in local]
        forward = op.forward.reference.__code__
        inputs = set(forward.co_varnames[: _n_arguments(forward)])
        composed = code_of(op.composed)
        others = set(composed.co_varnames) if composed is not None else set()
        known = {*inputs, *result.locals, *local, *others}
        gradients = {name: name[1:] for name in local if name[0] == "d" and name[1:] in known}
        for name in local:  # first the values, then the gradients of them
            of_forward = name in result.locals and result.locals[name].order[1] == FORWARD_S
            if of_forward or name in gradients or name in stale:
                continue
            if not any(_same_memory(arrays[name], other) for other in given):
                self._set_value(self._local(result, name), arrays[name], _line_in(function, name))
        for name, of in gradients.items():
            if of in inputs or not (of in result.locals or of in others):
                continue
            entry = self._local(result, of)
            entry.no_value = entry.no_value or f"no local of {op.forward.reference.__name__}"
            shape = entry.value and entry.value.summary.shape
            if name in stale:
                self._no_grad(entry, f"{name} was changed in place afterwards, {_changed_at(function, stale[name])}")
            elif shape is not None and shape != arrays[name].shape:
                self._no_grad(entry, f"{name} has shape {arrays[name].shape}, {of} {shape}")
            else:
                self._set_grad(entry, arrays[name], f"{name} of {_line_in(function, name)}")
        for name, entry in result.locals.items():
            if f"d{name}" not in local:
                self._no_grad(entry, f"{function.__name__} has no local d{name}")

    def _entry_of(self, frame: FrameType) -> Entry | None:
        """Of the op whose backward this is, called by the loop."""
        run = running.get()
        node = run.node if run is not None else None
        if node is None or code_of(node.backward) is not frame.f_code:
            return None
        return self._by_node.get(node)

    def _local(self, result: Entry, name: str) -> Entry:
        """The entry of a local of the op's backward."""
        if name not in result.locals:
            order = result.order[0], BACKWARD_S
            result.locals[name] = self._new_local(result.scope, result.prefix, result.op, name, order)
        return result.locals[name]

    def _new_local(self, scope: Scope, prefix: str, op: str, name: str, order: tuple[int, int]) -> Entry:
        """In a composition its name begins with the op's, which its variables' names do not."""
        entry = Entry(scope, order, f"{prefix}{op}.{name}" if prefix else name, op, self._store)
        self.entries.append(entry)
        return entry

    def _snapshot(self, entry: Entry, array: Any, where: str) -> Snapshot:
        kept = self._store.put(array) if self._may_keep(entry.scope.path) else None
        return Snapshot(Summary.of(array), where, kept)

    def _set_value(self, entry: Entry, array: Any, where: str) -> None:
        entry.drop(entry.value)
        entry.value = self._snapshot(entry, array, where)

    def _set_grad(self, entry: Entry, array: Any, where: str) -> None:
        entry.drop(entry.grad)
        entry.grad = self._snapshot(entry, array, where)

    def _no_grad(self, entry: Entry, why: str) -> None:
        entry.drop(entry.grad)
        entry.grad, entry.no_grad = None, why


def _arrays(frame: FrameType) -> tuple[dict[str, Array], list[str]]:
    """Arrays by the names they have in a function, and which of these are no arguments."""
    arrays = {
        name: value
        for name, value in frame.f_locals.items()
        if hasattr(value, "__array_function__") and not isinstance(value, Tensor) and not name.startswith("_")
    }
    arguments = frame.f_code.co_varnames[: _n_arguments(frame.f_code)]
    return arrays, [name for name in arrays if name not in arguments]


def _n_arguments(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount


def _same_memory(a: Array, b: Any) -> bool:
    """Whether one is the other, or all of it in another shape or order."""
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return a is b
    return a.size == b.size and a.dtype == b.dtype and np.may_share_memory(a, b)


def _line_in(function: Any, name: str) -> str:
    return f"{function.__name__}, {shown(function.__code__.co_filename, line_of(function, name))}"


def _changed_at(function: Any, line: int | None) -> str:
    """Where an array was changed in place."""
    return "as far as is known: it has no source" if line is None else shown(function.__code__.co_filename, line)
