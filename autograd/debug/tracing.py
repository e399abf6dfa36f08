"""Every intermediate value and gradient of a pass, by name.

    with trace(model) as t:
        logits, loss = model(ids, targets)
        loss.backward()
    t["blocks.0.attn.q"].grad_summary      # (2, 4, 16, 8) float32, norm 0.0123, ...
    t["blocks.0.attn.q"].grad              # the array, with trace(model, arrays=["blocks.0.attn.*"])

Names are those of layers ("blocks.0.attn.qkv": what this layer returns), of their variables and ops ("blocks.0.x",
"blocks.0.attn.attention"), of the local arrays of hand-written functions ("blocks.0.attn.q", whose gradient is the
local `dq` of `attention_backward`), and of parameters. Inside `compose()` they are the variables of compositions.
"""

from __future__ import annotations

import fnmatch
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from autograd import backends, modes
from autograd.backends import Array, to_host
from autograd.debug.errors import DebugError, unknown
from autograd.debug.scopes import Scopes, named_table
from autograd.debug.store import Kept, Store
from autograd.debug.traced import Entry, Traced
from autograd.debug.watch import Watch
from autograd.tensor import Tensor


class trace:
    """Watch the ops of a block, forward and backward, and keep what they computed.

    References run, part by part, whatever the backend of arrays on the CPU. Where a layer is called several times, its
    last call counts, and so does the last backward pass; parameters are as the block leaves them. The thread that
    enters the block is watched, and no other.

    Memory, beyond what the model needs itself: at most `memory`, the largest single array, 2 MB, and 2 KB a name.

    Args:
        models: whose parameters and layers are named; without one, layers have the names they know themselves. Names in
            the second of several begin with "1.".
        arrays: what to keep more of than a summary: all, nothing, or names with wildcards, such as "blocks.0.attn.*".
        memory: bytes of arrays to keep in memory. More go to a temporary folder, until the trace is closed or dropped.

    Raises:
        DebugError: an argument is of the wrong kind; the disk is full.
    """

    def __init__(self, *models: Any, arrays: bool | str | Sequence[str] = False, memory: int = 64 << 20) -> None:
        self._paths: dict[int, str] = {}
        self._parameters: dict[str, Tensor] = {}
        for i, model in enumerate(models):
            if not hasattr(model, "named_modules") or not hasattr(model, "named_parameters"):
                raise DebugError(f"trace takes models, not {type(model).__name__}: pass the GPT or layer to be named")
            top = str(i) if i else ""
            self._paths |= {id(module): path for path, module in model.named_modules(top)}
            self._parameters |= {f"{i}.{name}" if i else name: p for name, p in model.named_parameters()}
        patterns: Any = ["*"] if arrays is True else [arrays] if isinstance(arrays, str) else arrays or []
        if not isinstance(patterns, Iterable) or not all(isinstance(pattern, str) for pattern in patterns):
            raise DebugError(f"arrays={arrays!r}: give True for all, or names with wildcards such as 'blocks.0.attn.*'")
        if not isinstance(memory, int | float) or not memory >= 0:
            raise DebugError(f"memory={memory!r}: give the bytes of arrays to keep in memory, 0 for none")
        self._models = models  # so that an id is no other object's
        self._patterns, self._store = list(patterns), Store(memory)
        self._watch: Watch | None = None
        self._scopes: Scopes | None = None
        self._entries: list[Entry] = []
        self._table: dict[str, Entry] = {}  # of all names, when the block has ended
        self.seconds = 0.0  # that the block took

    def __enter__(self) -> trace:
        if self._watch is not None or self.seconds:
            raise DebugError("this trace has been used before: make a new one for another block")
        self._modes = ExitStack()
        if modes.backend_name.get() == "numba":
            self._modes.enter_context(backends.use_backend("numpy"))
        self._scopes = Scopes(self._path_of, sys._getframe(1))
        self._watch = Watch(self._scopes, self._store, self._may_keep, self._new_pass)
        self._entries = self._watch.entries
        self._started = time.perf_counter()
        self._watch.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        assert self._watch is not None
        assert self._scopes is not None
        self._watch.stop()
        self.seconds = time.perf_counter() - self._started
        self._modes.close()
        self._new_pass()
        self._table = self._named()
        self._scopes.close()
        self._watch = self._scopes = None
        keep_none = error is not None  # it may be the disk that is full
        self._table |= {name: self._parameter(name, keep_none) for name in self._parameters}

    def close(self) -> None:
        """Remove the arrays that were kept on disk."""
        self._store.close()

    @property
    def names(self) -> list[str]:
        """All names there are, sorted."""
        return sorted({*self._named(), *self._parameters})

    def __getitem__(self, name: str) -> Traced:
        """
        Raises:
            DebugError: there is no such name; the message has those nearest to it.
        """
        if self._watch is not None and name in self._parameters:
            return Traced(name, self._parameter(name))
        table = self._named()
        if name not in table:
            raise unknown("value", name, self.names, " in this trace")
        return Traced(name, table[name])

    def __contains__(self, name: object) -> bool:
        return name in self._parameters or name in self._named()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<trace of {len(self)} names>"

    def __str__(self) -> str:
        """How much it holds, and what that took."""
        entries = set(self._named().values())
        n_values = sum(entry.value is not None for entry in entries)
        n_grads = sum(entry.grad is not None for entry in entries)
        store = self._store
        text = (
            f"trace: {len(self):,} names, {n_values:,} values and {n_grads:,} gradients, "
            f"{len(self._parameters):,} of them parameters; arrays of {store.in_memory:,} bytes in memory and "
            f"{store.on_disk:,} on disk; the block took {self.seconds:.3g} s"
        )
        idle = [pattern for pattern in self._patterns if not fnmatch.filter(self.names, pattern)]
        return text + (f"; arrays: nothing is named like {' or '.join(map(repr, idle))}" if idle else "")

    def _path_of(self, layer: Any) -> str:
        path = self._paths.get(id(layer), getattr(layer, "path", None))
        return f"({type(layer).__name__})" if path is None else path

    def _named(self) -> dict[str, Entry]:
        """The entry of each name."""
        if self._scopes is None:
            return self._table
        self._scopes.bind_open()
        return named_table(self._entries, self._parameters)

    def _new_pass(self) -> None:
        """Let go of what later calls have replaced, and of arrays that turned out not to be asked for."""
        names: dict[Entry, list[str]] = {}
        for name, entry in self._named().items():
            names.setdefault(entry, []).append(name)
        for entry in self._entries:
            if not any(map(self._is_asked, names.get(entry, []))):
                entry.drop(entry.value)
                entry.drop(entry.grad)
        self._entries[:] = [entry for entry in self._entries if entry in names]
        if self._scopes is not None:
            self._scopes.keep_only(set(names))

    def _parameter(self, name: str, keep_none: bool = False) -> Entry:
        """A parameter as it is now: in the block its own arrays, after it copies of those that are asked for."""

        def keep(array: Array) -> Kept | None:
            if self._watch is not None:
                return Kept(to_host(array), None, 0)
            return self._store.put(array) if self._is_asked(name) and not keep_none else None

        return Entry.of_parameter(self._parameters[name], self._store, f"parameter {name}", keep)

    def _is_asked(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def _may_keep(self, path: str) -> bool:
        """Whether something made in this layer may get a name that is asked for: it has none yet."""
        heads = [re.split(r"[*?[]", pattern, maxsplit=1)[0] for pattern in self._patterns]
        return any(head.startswith(path) or path.startswith(head) for head in heads)
