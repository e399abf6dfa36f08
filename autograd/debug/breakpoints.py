"""Stop backward where something happens: at an op, a layer, a parameter, a large or a non-finite gradient.

    with break_on(layer="blocks.0.attn", norm_above=10):
        loss.backward()        # opens the debugger, before the gradients of that step accumulate

All that is given must hold. Without `call` a stop is Python's `breakpoint()`, so pdb, or whatever debugger
PYTHONBREAKPOINT or the editor has put there; the local `stop`, a Step, has everything.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from autograd import modes
from autograd.backends import Array
from autograd.debug.errors import DebugError, unknown
from autograd.debug.step import Step
from autograd.layer_paths import and_those_above, within
from autograd.norm import norm
from autograd.op import Op
from autograd.tape import Node
from autograd.tensor import Tensor


class break_on:
    """Stop `backward()` before the gradients of a step accumulate, where all that is given holds.

    On from here, until `.clear()` or, as a `with` block, its end.

    Args:
        op: name of an op, such as "layernorm".
        layer: path of a layer, which stands for all below it too; with wildcards, such as "blocks.*.attn".
        param: name of a parameter that gets a gradient from this step; with wildcards.
        norm_above: the norm of one of the step's gradients is above this, or NaN.
        nonfinite: one of the step's gradients has a NaN or an infinity.
        changed: a Tensor whose gradient this step changes, or a NumPy array that has other values than at the step
            before.
        when: is handed the Step and says whether to stop.
        call: is handed the Step instead of stopping in the debugger; may edit `step.dxs`.

    Raises:
        DebugError: nothing was given, something of the wrong kind, or no op has that name. At `backward()`: a layer,
            parameter or Tensor that is not on its tape, or a condition that raised.
    """

    def __init__(
        self,
        *,
        op: str | None = None,
        layer: str | None = None,
        param: str | None = None,
        norm_above: float | None = None,
        nonfinite: bool = False,
        changed: Tensor | Array | None = None,
        when: Callable[[Step], bool] | None = None,
        call: Callable[[Step], Any] | None = None,
    ) -> None:
        for name, value in {"op": op, "layer": layer, "param": param}.items():
            if not isinstance(value, str | None):
                raise DebugError(f"{name} is {value!r}: give its name, a string")
        for name, function in {"when": when, "call": call}.items():
            if function is not None and not callable(function):
                raise DebugError(f"{name} is {function!r}: give a function, which is handed the step")
        if norm_above is not None and not (isinstance(norm_above, Real) and norm_above >= 0):
            raise DebugError(f"norm_above is {norm_above!r}: give a number of at least 0")
        given = (op, layer, param, norm_above, changed, when)
        if all(value is None for value in given) and not nonfinite:
            raise DebugError(
                "break_on() was given nothing to stop at: give op=, layer=, param=, norm_above=, nonfinite=True, "
                "changed= or when="
            )
        if op is not None and op not in Op.registry:
            raise unknown("op", op, Op.registry)
        if changed is not None and not isinstance(changed, Tensor | np.ndarray):
            raise DebugError(f"changed is {changed!r}: give a Tensor, whose gradient is watched, or a NumPy array")
        self.op, self.layer, self.param, self.norm_above = op, layer, param, norm_above
        self.nonfinite, self.changed, self.when, self.call = nonfinite, changed, when, call
        self._last = np.array(changed) if isinstance(changed, np.ndarray) else None
        self._is_asked = False  # its `when` or `call` runs: a backward in there is not for it to stop
        modes.breakpoints.set((*modes.breakpoints.get(), self))

    def __enter__(self) -> break_on:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Stop no more."""
        modes.breakpoints.set(tuple(other for other in modes.breakpoints.get() if other is not self))

    def check_debugger(self) -> None:
        """
        Raises:
            DebugError: it would stop in a debugger that is not there: as long as none is switched on, a notebook passes
                over `breakpoint()` in silence.
        """
        silent = getattr(sys.breakpointhook, "__name__", "") == "debugpy_breakpointhook"
        if self.call is None and silent and not sys.modules["debugpy"].is_client_connected():
            raise DebugError(
                "break_on() has no debugger to stop in, since this notebook's is not switched on: switch it on, give "
                "call=, step with loss.backward_steps(), or set sys.breakpointhook = sys.__breakpointhook__ for pdb"
            )

    def check(self, tape: list[Node]) -> None:
        """
        Raises:
            DebugError: the layer, parameter or Tensor it waits for is not on this tape.
        """
        if any(node.op == "checkpoint" for node in tape):
            return  # what it computes again is on no tape before it runs
        if self.layer is not None:
            layers = and_those_above(*(node.layer for node in tape if node.layer))
            if not any(within(path, self.layer) for path in layers):
                raise unknown("layer", self.layer, layers, f" on this tape{_fast_kernels(tape)}")
        if self.param is not None:
            names = [name for node in tape for name in _parameter_names(node)]
            if not any(fnmatch.fnmatchcase(name, self.param) for name in names):
                raise unknown("parameter", self.param, names, " on this tape")
        if isinstance(self.changed, Tensor) and not any(
            self.changed.node is node if self.changed.node else self.changed in node.parents for node in tape
        ):
            raise DebugError(
                f"changed={self.changed!r} is not on this tape: give a Tensor that the loss was computed from, "
                "or a NumPy array"
            )

    def stops_at(self, step: Step) -> bool:
        """Whether to stop in the debugger; where there is a callback it is called instead.

        Raises:
            DebugError: the condition raised.
        """
        if self._is_asked:
            return False
        self._is_asked = True
        try:
            if not self._holds(step):
                return False
            if self.call is None:
                return True
            self.call(step)
            return False
        finally:
            self._is_asked = False

    def _holds(self, step: Step) -> bool:
        node = step.node
        wanted = zip(node.parents, step.dxs, strict=False)
        dxs = [dx for parent, dx in wanted if parent is not None and dx is not None]
        changed = self.changed is None or self._has_changed(step)  # of every step, to compare with the one before
        if self.op is not None and str(node.op) != self.op:
            return False
        if self.layer is not None and not within(node.layer or "", self.layer):
            return False
        if self.param is not None and not any(fnmatch.fnmatchcase(n, self.param) for n in _parameter_names(node)):
            return False
        if self.norm_above is not None and all(norm(dx) <= self.norm_above for dx in dxs):
            return False
        if self.nonfinite and all(np.isfinite(dx).all() for dx in dxs):
            return False
        if not changed:
            return False
        return self.when is None or self._condition(step)

    def _has_changed(self, step: Step) -> bool:
        """An array: since the last step. A Tensor: its gradient is about to be changed by this one."""
        if isinstance(self.changed, Tensor):
            return any(
                flow.target in (self.changed, self.changed.node)
                and flow.gradient is not None
                and bool(np.any(flow.gradient))
                for flow in step.flows
                if flow.target is not None
            )
        assert self._last is not None
        assert self.changed is not None
        if np.array_equal(self._last, self.changed, equal_nan=True):
            return False
        self._last = np.array(self.changed)
        return True

    def _condition(self, step: Step) -> bool:
        assert self.when is not None
        try:
            return bool(self.when(step))
        except Exception as error:
            code = getattr(self.when, "__code__", None)
            where = f" at {code.co_filename}:{code.co_firstlineno}" if code else ""
            raise DebugError(
                f"the condition of break_on(when=...){where} raised {type(error).__name__}: {error}, at step "
                f"{step.index} ({step.name}): mend the condition, which is handed the step"
            ) from error


def _fast_kernels(tape: list[Node]) -> str:
    """What to say of a layer that is missing where some ops ran as fast kernels."""
    if all(not isinstance(node.op, Op) or node.backward is node.op.backward.reference for node in tape):
        return ""
    return (
        ", where a fast kernel may stand for several layers (to have each on the tape, run the forward pass inside "
        'debug() or use_backend("numpy"))'
    )


def _parameter_names(node: Node) -> list[str]:
    leaves = (parent for parent in node.parents if isinstance(parent, Tensor))
    return [leaf.name for leaf in leaves if leaf.name]
