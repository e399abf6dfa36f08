"""The numeric check of one node, at the numbers it was given in the forward pass.

with record_calls() as calls:
    loss = model.loss(ids, targets)
print(calls.check(loss.node))
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import modes
from autograd.backends import Array
from autograd.debug.errors import DebugError
from autograd.gradcheck import GradcheckError, Report, gradcheck
from autograd.gradcheck.arrays import is_float
from autograd.names import named
from autograd.op import Op
from autograd.tape import Node
from autograd.tensor import Tensor

ONE_BY_ONE = 64  # a node none of whose inputs has more elements is checked element by element,
DIRECTIONS = 4  # others along so many random directions for each input: enough to see a gradient that is wrong


@dataclass(frozen=True)
class NodeCheck:
    """What a numeric check of one node found.

    Attributes:
        gradients: for each input with a gradient the largest relative difference from what was computed numerically;
            without those of which nothing could be compared.
        passed: whether rounding explains all differences; also where nothing could be compared.
        text: the same for people: a paragraph, more where gradients are wrong.
        seconds: how long it took.
    """

    gradients: dict[str, float]
    passed: bool
    text: str
    seconds: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Call:
    """One op of a forward pass.

    Attributes:
        op: the op.
        inputs: its positional arguments; of arrays read-only copies.
        attributes: its keyword arguments.
        y: the array it returned.
        constants: names of the floating-point inputs that get no gradient.
    """

    op: Op
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    y: Array
    constants: tuple[str, ...]


class Calls:
    """The calls of a forward pass by the node that each recorded. Made by `record_calls`."""

    def __init__(self) -> None:
        self._calls: dict[Node, Call] = {}

    def add(self, op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any], y: Tensor) -> None:
        """Called after each forward."""
        if y.node is None:
            return
        floats = {name: x for name, x in named(op.forward.reference, inputs).items() if is_float(x)}
        constants = tuple(name for name, x in floats.items() if not (isinstance(x, Tensor) and x.requires_grad))
        self._calls[y.node] = Call(op, tuple(map(_kept, inputs)), dict(attributes), y.data, constants)

    def of(self, node: Node) -> Call:
        """The call that recorded `node`.

        Raises:
            DebugError: it was not made inside this `record_calls`, or by no op.
        """
        call = self._calls.get(node)
        if call is None and not isinstance(node.op, Op):
            raise DebugError(f"{node!r} was recorded by no op, so no inputs of it are known: choose a node of an op")
        if call is None:
            raise DebugError(f"{node!r} was not recorded by these calls: run its forward inside `record_calls()`")
        return call

    def check(self, node: Node) -> NodeCheck:
        """Compare the op's hand-written gradients with numeric ones, in float64, at the numbers of this node.

        What is checked is the readable reference: compiled twins take no float64.

        Raises:
            DebugError: as `of`.
        """
        call, start = self.of(node), time.perf_counter()
        # in a context of its own: the check runs backward, which the caller's observer and breakpoints would see
        report, passed, text = contextvars.Context().run(_checked, call)
        gradients = {row.name: max(row.errors.values()) for row in report.rows if row.errors} if report else {}
        return NodeCheck(gradients, passed, text, time.perf_counter() - start)


@contextmanager
def record_calls() -> Iterator[Calls]:
    """Keep each op's inputs and output inside the block."""
    calls = Calls()
    with modes.observe(calls.add):
        yield calls


def _kept(x: Any) -> Any:
    """An array, or a Tensor's, as a read-only copy: whoever writes to it later does not change what is checked."""
    x = x.data if isinstance(x, Tensor) else x
    if not hasattr(x, "dtype"):
        return x
    x = x.copy()
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


def _checked(call: Call) -> tuple[Report | None, bool, str]:
    """What gradcheck found, None where it could not run; whether the gradients are right; and a text."""
    large = any(is_float(x) and x.size > ONE_BY_ONE for x in call.inputs)
    try:
        report = gradcheck(
            call.op,
            call.inputs,
            call.attributes,
            constants=call.constants,
            directions=DIRECTIONS if large else None,
        )
    except GradcheckError as error:
        if error.report is None:
            return None, False, f"{call.op} could not be checked at these numbers: {error}"
        wrong = "\n".join(error.report.failures)
        return error.report, False, f"{call.op}: the hand-written gradients are not right. {wrong}"
    return report, True, _told(report)


def _told(report: Report) -> str:
    """That all gradients are right, and how near they are, in a paragraph."""
    errors = [f"d{row.name} {max(row.errors.values()):.1e}" for row in report.rows if row.errors]
    if not errors:
        return f"{report.target}: nothing could be compared, since it has no derivative at any of these places."
    n = sum(row.checked for row in report.rows)
    kinks = f"; {report.kinks} without a derivative left out" if report.kinks else ""
    return (
        f"{report.target}: the hand-written gradients are right. Largest relative difference from the numeric ones, in "
        f"{n} comparisons at these very numbers: {', '.join(errors)}{kinks}."
    )
