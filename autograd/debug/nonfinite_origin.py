"""What is known of the first number that is not finite, as facts and as text."""

from __future__ import annotations

import linecache
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd.backends import to_host
from autograd.debug.summary import Summary
from autograd.origin import Origin
from autograd.tape import AutogradError
from autograd.tensor import Tensor

_ENDS = 4  # ops shown at each end of a long chain
_LONGEST = 120  # characters shown of a statement


@dataclass(frozen=True)
class Operand:
    """What an op was handed.

    Attributes:
        name: in the op's signature.
        value: the number there, where the operand has one for each number of the result; None otherwise.
        summary: of the whole array; None for a plain number.
    """

    name: str
    value: float | None
    summary: Summary | None

    def __str__(self) -> str:
        """Such as "x = 0.0 there; (2, 16) float32, norm 5.1, ..."."""
        if self.summary is None:
            return f"{self.name} = {self.value:.7g}"
        return f"{self.name}{'' if self.value is None else f' = {self.value:.7g} there'}; {self.summary}"


@dataclass(frozen=True)
class Inside:
    """The line within an op's hand-written function that made it.

    Attributes:
        function: the function that the line stands in: the op's own, or one that it calls.
        line: (file, line).
        code: the statement; "" of one that holds others, such as a loop.
        expression: the operator or call in it whose value was the first not to be finite.
        index: of a number in that value that led to what the op gave; of a large array it may be the first of several
            that together did.
        value: that number.
        is_first: it is the first that the expression made; else the first alone would have done no harm.
        count: how many it made.
        shape: of the value; () of a number.
        operands: what it was computed from, by the text in the expression.
    """

    function: str
    line: tuple[str, int]
    code: str
    expression: str
    index: tuple[int, ...]
    value: float
    is_first: bool
    count: int
    shape: tuple[int, ...]
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        whole, expression = _shortened(self.code or self.expression), _shortened(self.expression)
        is_whole = whole in (expression, f"return {expression}") or whole.endswith(f" = {expression}")
        what = whole if is_whole else f"{whole}, whose {expression}"
        place = str(Place(self.index, self.value, self.count, self.shape))
        if not self.is_first:
            place = place.replace("the first of", "one of")
        lines = [f"  inside {self.function} at {self.line[0]}:{self.line[1]}: {what} gave {place}"]
        return "\n".join(lines + [f"    {operand}" for operand in self.operands])


@dataclass(frozen=True)
class NonFinite:
    """The first number that is not finite, and where it came from.

    Attributes:
        sentence: what happened, without the place in the code.
        op: name of the op that made it, or was the first to be handed it.
        layer: path of the layer that called the op, such as "blocks.0.mlp"; None outside of layers.
        user_line: (file, line) of the call in the user's own file; None if there is none.
        layer_line: (file, line) of the call in the layer.
        index: of the first such number in its array.
        value: that number.
        count: how many there are in the array.
        shape: of the array.
        operands: what the op was handed, by name.
        spread: the ops it went through, from the first to the one whose result was not finite in the end.
        hint: what else there is to know; "" if nothing.
        inside: the line within the op's function that made it; None where nothing can be told for certain, or no more
            than the op itself tells.
    """

    sentence: str
    op: str
    layer: str | None
    user_line: tuple[str, int] | None
    layer_line: tuple[str, int] | None
    index: tuple[int, ...]
    value: float
    count: int
    shape: tuple[int, ...]
    operands: tuple[Operand, ...] = ()
    spread: tuple[str, ...] = ()
    hint: str = ""
    inside: Inside | None = None

    def __str__(self) -> str:
        lines = [self.sentence]
        for place in dict.fromkeys((self.user_line, self.layer_line)):  # one line where they are the same
            if place is not None:
                code = linecache.getline(*place).strip()
                lines.append(f"  at {place[0]}:{place[1]}{f': {_shortened(code)}' if code else ''}")
        lines += [f"  {operand}" for operand in self.operands]
        if self.inside is not None:
            lines.append(str(self.inside))
        if len(self.spread) > 1:
            chain = self.spread
            if len(chain) > 2 * _ENDS + 1:
                chain = (*chain[:_ENDS], f"{len(chain) - 2 * _ENDS} more", *chain[-_ENDS:])
            lines.append(f"  it spread: {' -> '.join(chain)}")
        return "\n".join(lines + ([f"  {self.hint}"] if self.hint else []))


class NonFiniteError(AutogradError):
    """A number that is not finite matters; `origin` has the facts about where it came from."""

    def __init__(self, origin: NonFinite) -> None:
        super().__init__(str(origin))
        self.origin = origin


def _shortened(code: str) -> str:
    return code if len(code) <= _LONGEST else f"{code[: _LONGEST - 3]}..."


def is_number(x: Any) -> bool:
    return isinstance(x, numbers.Real) and not isinstance(x, bool)


@dataclass(frozen=True)
class Place:
    """The first number of an array that is not finite."""

    index: tuple[int, ...]
    value: float
    count: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Any, *, inf: bool) -> Place:
        """Args: inf: infinities count too, and not only NaN."""
        a = to_host(array)
        bad = ~np.isfinite(a) if inf else np.isnan(a)
        index = tuple(map(int, np.unravel_index(int(np.argmax(bad)), a.shape)))
        return cls(index, float(a[index]), int(bad.sum()), a.shape)

    def __str__(self) -> str:
        """Such as "-inf at [0, 3], 5 of 32 numbers not finite"."""
        if not self.shape:
            return f"{self.value}"
        n = int(np.prod(self.shape))
        return f"{self.value} at {list(self.index)}, the first of {self.count:,} among {n:,} numbers"


def operands(values: Mapping[str, Any], place: Place, *, each: bool = True) -> tuple[Operand, ...]:
    """Of the arrays and numbers among `values`, as seen from one number of the result.

    Args:
        each: numbers at the same place may belong together; they do where the shapes fit.
    """
    values = {name: x.data if isinstance(x, Tensor) else x for name, x in values.items()}
    arrays = {name: to_host(x) for name, x in values.items() if _is_array(x)}
    elementwise = each and fit(place.shape, *(a.shape for a in arrays.values()))
    found = []
    for name, x in values.items():
        if name in arrays:
            a = arrays[name]
            value = float(np.broadcast_to(a, place.shape)[place.index]) if elementwise else None
            found.append(Operand(name, value, Summary.of(a)))
        elif is_number(x):
            found.append(Operand(name, float(x), None))
    return tuple(found)


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, type)  # np.float32 has both


def fit(shape: tuple[int, ...], *shapes: tuple[int, ...]) -> bool:
    """Whether arrays of these shapes have a number for each of one of `shape`."""
    try:
        return np.broadcast_shapes(*shapes) == shape
    except ValueError:
        return False


def op_in_layer(op: object, origin: Origin) -> str:
    """Such as "linear in blocks.0.attn.qkv"."""
    return f"{op} in {origin.layer_path}" if origin.layer_path else str(op)


def origin_facts(sentence: str, op: object, origin: Origin, place: Place, **more: Any) -> NonFinite:
    """The facts of what happened at an op called at `origin`."""
    return NonFinite(
        sentence,
        str(op),
        origin.layer_path,
        origin.user_line,
        origin.caller_line,
        place.index,
        place.value,
        place.count,
        place.shape,
        **more,
    )
