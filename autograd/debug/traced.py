"""One named value of a trace, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autograd.backends import Array
from autograd.debug.errors import DebugError
from autograd.debug.scopes import Named, Scope
from autograd.debug.store import Kept, Store
from autograd.debug.summary import Summary
from autograd.tensor import Tensor


@dataclass(slots=True)
class Snapshot:
    """What an array held, when it was there."""

    summary: Summary
    where: str
    kept: Kept | None


class Entry(Named):
    """What a trace keeps of one name; of the result of an op also the entries of its functions' locals."""

    __slots__ = ("grad", "locals", "no_grad", "no_value", "op", "prefix", "store", "value")

    def __init__(self, scope: Scope, order: tuple[int, int], base: str, op: str, store: Store) -> None:
        super().__init__(scope, order, base)
        self.op, self.store = op, store
        self.value: Snapshot | None = None
        self.grad: Snapshot | None = None
        self.no_value, self.no_grad = "", "no backward() has come here yet"  # why there is none
        self.locals: dict[str, Entry] = {}
        self.prefix = ""  # of names, in a composition

    @classmethod
    def of_parameter(cls, p: Tensor, store: Store, where: str, keep: Callable[[Array], Kept | None]) -> Entry:
        """What a parameter and its gradient hold now."""
        entry = cls(Scope("", 0, None), (0, 0), "", "parameter", store)
        grad = p.gradient_set()
        entry.value = Snapshot(Summary.of(p.data), where, keep(p.data))
        entry.grad = None if grad is None else Snapshot(Summary.of(grad), f"accumulated, {where}", keep(grad))
        return entry

    def drop(self, snapshot: Snapshot | None) -> None:
        """Keep no more of its array than the summary."""
        if snapshot is not None and snapshot.kept is not None:
            self.store.drop(snapshot.kept)
            snapshot.kept = None


class Traced:
    """A value and its gradient, as the trace has kept them.

    Attributes:
        name: such as "blocks.0.attn.q".
    """

    def __init__(self, name: str, entry: Entry) -> None:
        self.name, self._entry = name, entry

    @property
    def order(self) -> tuple[int, int]:
        """Number of its op; 0 for locals of the op's forward, 1 for its result, 2 for locals of its backward."""
        return self._entry.order

    @property
    def op(self) -> str:
        """The op that made it."""
        return self._entry.op

    @property
    def summary(self) -> Summary | None:
        """Of the value; None where there is none, and `where` says why."""
        return self._entry.value.summary if self._entry.value else None

    @property
    def grad_summary(self) -> Summary | None:
        """Of the gradient; None where there is none, and `grad_where` says why."""
        return self._entry.grad.summary if self._entry.grad else None

    @property
    def where(self) -> str:
        """What made the value, and in which line: "attention_forward, reference.py:75"."""
        return self._entry.value.where if self._entry.value else self._entry.no_value

    @property
    def grad_where(self) -> str:
        """Where the gradient was read: "dq of attention_backward, reference.py:100", or why there is none."""
        return self._entry.grad.where if self._entry.grad else self._entry.no_grad

    @property
    def value(self) -> Array | None:
        """The array, read-only, on the host; None where `summary` is.

        Raises:
            DebugError: it was not kept.
        """
        return self._array(self._entry.value, "value")

    @property
    def grad(self) -> Array | None:
        """The gradient of the backward pass that came last, read-only, on the host; None where `grad_summary` is.

        Raises:
            DebugError: it was not kept.
        """
        return self._array(self._entry.grad, "gradient")

    def _array(self, snapshot: Snapshot | None, what: str) -> Array | None:
        if snapshot is None:
            return None
        if snapshot.kept is None:
            raise DebugError(
                f"of the {what} of {self.name!r} only a summary was kept: trace with arrays=[{self.name!r}], or with "
                "arrays=True for all, to have the numbers"
            )
        return snapshot.kept.array

    def __repr__(self) -> str:
        value = f"{self.summary}; {self.where}" if self.summary else f"no value: {self.where}"
        grad = f"gradient {self.grad_summary}" if self.grad_summary else f"no gradient: {self.grad_where}"
        return f"<{self.name}: {value}; {grad}>"
