"""What `compare` found, as rows and as a table for a terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from autograd.backends import Array
from autograd.debug.errors import unknown
from autograd.gradcheck.tolerance import allowed

Verdict = Literal["exact", "approximate", "different"]
WIDTH = 100


@dataclass(frozen=True)
class Row:
    """One array, computed both ways.

    Attributes:
        name: its name, such as "blocks.0.attn.q".
        kind: "value" or "gradient".
        shape: its shape, in the hand-written path.
        verdict: "exact" to the last bit, "approximate" within rounding, or "different".
        absolute: the largest difference; infinite where only one is finite, or where the sizes differ.
        relative: the same as a share of the largest number.
        of_bound: the largest difference as a share of what rounding explains.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    verdict: Verdict
    absolute: float
    relative: float
    of_bound: float

    def __str__(self) -> str:
        return f"{self.kind} of {self.name} {self.shape}: {self.verdict}, by {self.absolute:.2e} ({self.relative:.1e})"


def row_of(name: str, kind: str, handwritten: Array, composed: Array, noise: Array, dtype: str) -> Row:
    """Compare two arrays; one of other axes and as many numbers, such as rows merged, is read in the same order.

    Args:
        noise: change of each number when those it is computed from move by a rounding.
        dtype: of the computation.
    """
    shape = handwritten.shape
    if handwritten.size != composed.size:
        return Row(name, kind, shape, "different", np.inf, np.inf, np.inf)
    a, b, noise = (np.asarray(x).ravel() for x in (handwritten, composed, noise))
    same = (a == b) | ((a != a) & (b != b))
    if same.all():
        return Row(name, kind, shape, "exact", 0.0, 0.0, 0.0)
    with np.errstate(all="ignore"):
        off = np.abs(a.astype(np.float64) - b)  # (n,)
        off = np.where(same, 0, np.where(np.isfinite(off), off, np.inf))
        noise = noise + np.finfo(dtype).tiny  # numbers below it have fewer digits
        bound = allowed(dtype, 1, np.abs(b.astype(np.float64)), noise)  # (n,)
        of_bound = np.where(same, 0, off / np.where(np.isfinite(bound), bound, 0))
    worst, absolute = float(of_bound.max()), float(off.max())
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0)) or 1.0
    return Row(name, kind, shape, "approximate" if worst <= 1 else "different", absolute, absolute / largest, worst)


@dataclass(frozen=True)
class Comparison:
    """All that was compared.

    Attributes:
        target: name of the function.
        layer: the layers that were composed, "*" for all.
        dtype: computed in.
        rows: values in the order of the forward pass, gradients in that of the backward pass, then those of leaves.
        only_handwritten: names that only the hand-written path has.
        only_composed: names that only the compositions have.
        not_composed: ops that ran hand-written both times, since they have no composition: nothing is said of them.
    """

    target: str
    layer: str
    dtype: str
    rows: list[Row]
    only_handwritten: list[str]
    only_composed: list[str]
    not_composed: list[str]

    @property
    def different(self) -> list[Row]:
        """What rounding does not explain; the first is where it begins."""
        return [row for row in self.rows if row.verdict == "different"]

    @property
    def worst(self) -> Row:
        """The row that is the furthest off, beside what rounding explains."""
        return max(self.rows, key=lambda row: row.of_bound)

    def __getitem__(self, key: tuple[str, str]) -> Row:
        """The row of (name, kind).

        Raises:
            DebugError: there is none; the message has those nearest to it.
        """
        rows = {(row.name, row.kind): row for row in self.rows}
        if key not in rows:
            known = [f"{kind} of {name}" for name, kind in rows]
            raise unknown("row", f"{key[1]} of {key[0]}", known, f" in this comparison of {self.target}")
        return rows[key]

    def __str__(self) -> str:
        count = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in get_args(Verdict)}
        where = "" if self.layer == "*" else f", {self.layer} composed"
        lines = [
            f"{self.target}, hand-written against composed ({self.dtype}{where}): "
            + ", ".join(f"{n} {verdict}" for verdict, n in count.items())
        ]
        if self.not_composed:
            ops = ", ".join(self.not_composed)
            lines.append(f"hand-written both times, so not compared, for lack of an @op.composition: {ops}")
        shape_width = max([5, *(len(str(row.shape)) for row in self.rows)])
        name_width = min(max([4, *(len(row.name) for row in self.rows)]), WIDTH - shape_width - 45)
        lines.append(f"{'name':<{name_width}}  {'':<8}  {'shape':<{shape_width}}  {'':<11}   largest  relative")
        for row in self.rows:
            name = row.name if len(row.name) <= name_width else f"...{row.name[3 - name_width :]}"
            numbers = "" if row.verdict == "exact" else f"  {row.absolute:>8.1e}  {row.relative:>8.1e}"
            line = f"{name:<{name_width}}  {row.kind:<8}  {row.shape!s:<{shape_width}}  {row.verdict:<11}{numbers}"
            lines.append(line.rstrip())
        for what, names in (("hand-written", self.only_handwritten), ("composed", self.only_composed)):
            if names:
                text = f"only {what}, {len(names)}: {', '.join(names)}"
                lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ", max_lines=4, placeholder=" ...")
        if self.different:
            lines.append(f"the first that differs: {self.different[0]}")
        return "\n".join(lines)
