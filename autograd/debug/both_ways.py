"""One function run hand-written and composed, at the same numbers, and once more for each draw of roundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import backends, modes
from autograd.backends import Array, to_host
from autograd.debug.comparison import Comparison, row_of
from autograd.debug.errors import DebugError, unknown
from autograd.debug.scopes import BACKWARD_S, RESULT_S
from autograd.debug.traced import Traced
from autograd.debug.tracing import trace
from autograd.gradcheck.arrays import JITTER_ULPS, is_float, jitter, to_device, to_dtype, upstream
from autograd.gradcheck.frozen import frozen_randomness, randomness_put_back
from autograd.gradcheck.subject import name_of
from autograd.gradcheck.tape import in_place, last_tensor
from autograd.gradcheck.tolerance import EPS
from autograd.layer_paths import and_those_above, within
from autograd.names import named
from autograd.op import Op
from autograd.tape import tape
from autograd.tensor import Tensor

SEED = 0
DRAWS = 4  # passes with every number moved by a rounding
VALUE, GRADIENT = "value", "gradient"


def run_both(function: Callable[..., Any], inputs: tuple[Any, ...], layer: str, dtype: str | None) -> Comparison:
    """What `compare` finds. Arguments and errors are its own."""
    with randomness_put_back(), np.errstate(all="ignore"):
        both = Both(function, inputs, dtype)
        handwritten = both.run(both.values)
        if layer != "*" and not any(within(path, layer) for path in handwritten.layers):
            raise unknown("layer", layer, and_those_above(*handwritten.layers), f" whose ops {both.name} runs")
        composed = both.run(both.values, layer)
        noise = both.noise(handwritten)
    rows = [
        row_of(name, kind, array, composed.arrays[name, kind], noise[name, kind], both.dtype)
        for (name, kind), array in handwritten.arrays.items()
        if (name, kind) in composed.arrays
    ]
    return Comparison(
        both.name,
        layer,
        both.dtype,
        rows,
        only_handwritten=_missing(handwritten, composed),
        only_composed=_missing(composed, handwritten),
        not_composed=sorted({op for path, op in composed.left if layer == "*" or within(path, layer)}),
    )


@dataclass
class Run:
    """What one run left.

    Attributes:
        arrays: by (name, what of it), in the order they came.
        layers: paths of those whose ops ran.
        left: (layer, op) of ops that are neither primitives nor have a composition.
    """

    arrays: dict[tuple[str, str], Array]
    layers: set[str]
    left: set[tuple[str, str]]


def _cannot_be_composed(op: object) -> bool:
    """A primitive is what others are composed of."""
    return (
        isinstance(op, Op) and op.composed is None and not op.forward.reference.__module__.startswith("autograd.ops.")
    )


def _missing(run: Run, other: Run) -> list[str]:
    """Names that only the first has."""
    return sorted({name for name, _ in run.arrays} - {name for name, _ in other.arrays})


class Both:
    """A function under comparison, with its values by name."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...], dtype: str | None) -> None:
        self.function, self.name = function, name_of(function)
        signature = function.forward.reference if isinstance(function, Op) else function
        self._inputs = named(signature, [x.data if isinstance(x, Tensor) else x for x in inputs])
        # layers of a model know their paths, which `layer` and errors use too
        self._models = [function] if hasattr(function, "path") and function.path is None else []
        own = list(function.parameters()) if hasattr(function, "parameters") else []
        self._backend = backends.name_of(*self._inputs.values(), *(p.data for p in own))  # that of the numbers
        self._parameters = self._find_parameters()
        self._backend = backends.name_of(*(p.data for p in self._parameters.values()), *self._inputs.values())
        values = {**self._inputs, **{name: p.data for name, p in self._parameters.items()}}
        floats = [x.dtype for x in values.values() if is_float(x)]
        if not floats:
            raise DebugError(
                f"{self.name} was given nothing that gets a gradient, and it has no parameters: "
                "give it a floating-point array, such as np.asarray(x, float)"
            )
        self.dtype = str(np.result_type(*floats)) if dtype is None else dtype
        if self.dtype not in EPS:
            raise DebugError(f"dtype is {self.dtype!r}: choose one of {', '.join(map(repr, EPS))}")
        self.values = {name: to_dtype(value, self.dtype) for name, value in values.items()}

    def run(self, values: Mapping[str, Any], layer: str | None = None, rng: np.random.Generator | None = None) -> Run:
        """Forward and backward: with `layer` composed there, with `rng` each saved number moved by a rounding."""
        composed = modes.compose(layer is not None, layer=layer or "*")
        backend = backends.use_backend(self._backend)
        with frozen_randomness(SEED), backend, in_place(self._parameters, values), composed:
            leaves = {name: _argument(values[name]) for name in self._inputs}
            with trace(*self._models, arrays=True) as t:  # it gives no name to what is bound to _y
                _y = last_tensor(self.name, self.function(*leaves.values()))
                if _y.node is None:
                    raise DebugError(
                        f"{self.name} returned a Tensor without history, so there is no backward to compare: "
                        "compute it from its inputs with ops of the engine, outside no_grad()"
                    )
                layers = {node.layer for node in tape(_y) if node.layer}
                left = {(node.layer or "", node.op.name) for node in tape(_y) if _cannot_be_composed(node.op)}
                if rng is not None:
                    for node in tape(_y):
                        node.saved = tuple(jitter(s, rng) for s in node.saved or ())
                dy = np.ones(_y.shape, _y.dtype) if _y.size == 1 else upstream(_y.data, np.random.default_rng(SEED))
                _y.backward(to_device(dy if rng is None else jitter(dy, rng)))
            arrays = _arrays(t)
            for name, leaf in {**leaves, **self._parameters}.items():
                if isinstance(leaf, Tensor) and leaf.grad is not None:
                    arrays[name, GRADIENT] = to_host(leaf.grad).copy()
            t.close()
        return Run(arrays, layers, left)

    def noise(self, exact: Run) -> dict[tuple[str, str], Array]:
        """By how much each number moves when those it is computed from move by a rounding: the most of a few draws.

        At least the mean of its row: of a million numbers, some hardly move in any of the draws.
        """
        largest = {key: np.zeros(array.shape) for key, array in exact.arrays.items()}
        for draw in range(DRAWS):
            rng = np.random.default_rng((SEED, draw))
            moved = self.run({name: jitter(value, rng) for name, value in self.values.items()}, rng=rng)
            for key, array in exact.arrays.items():
                if is_float(array) and key in moved.arrays and moved.arrays[key].shape == array.shape:
                    change = np.abs(moved.arrays[key].astype(np.float64) - array) / JITTER_ULPS
                    largest[key] = np.maximum(largest[key], np.where(np.isfinite(change), change, 0))
        return {key: np.maximum(n, n.mean(-1, keepdims=True)) if n.ndim and n.size else n for key, n in largest.items()}

    def _find_parameters(self) -> dict[str, Tensor]:
        """Those of a module, and whatever leaves a function reaches by itself."""
        own: dict[str, Tensor] = {}
        if hasattr(self.function, "named_parameters"):
            own = {p.name or name: p for name, p in self.function.named_parameters()}
        with frozen_randomness(SEED), backends.use_backend(self._backend):
            arguments = [_argument(value) for value in self._inputs.values()]
            y = last_tensor(self.name, self.function(*arguments))
        known = set(map(id, [*arguments, *own.values()]))
        for leaf in (parent for node in reversed(tape(y)) for parent in node.parents if isinstance(parent, Tensor)):
            if id(leaf) not in known:
                known.add(id(leaf))
                own[leaf.name or f"leaf {len(own)}"] = leaf
        return {name: p for name, p in own.items() if p.requires_grad}


def _argument(value: Any) -> Any:
    """What the function is handed: a Tensor where a gradient is wanted, arrays and the rest as they are."""
    return Tensor(to_device(value), requires_grad=True) if is_float(value) else to_device(value)


def _arrays(t: trace) -> dict[tuple[str, str], Array]:
    """What was traced, in the order in which the forward and then the backward pass came to it."""
    traced = [each for each in map(t.__getitem__, t) if isinstance(each, Traced)]
    values = {(each.name, VALUE): (each.value, _turn(each, is_gradient=False)) for each in traced}
    grads = {(each.name, GRADIENT): (each.grad, _turn(each, is_gradient=True)) for each in traced}
    found = {key: pair for key, pair in (values | grads).items() if pair[0] is not None}
    return {key: np.array(array) for key, (array, _) in sorted(found.items(), key=lambda item: item[1][1])}


def _turn(each: Traced, *, is_gradient: bool) -> tuple[bool, int, bool]:
    """Sorts first what the forward pass made, by op, then what the backward pass made, by op from the last on.

    Of one op, the gradient that comes in is that of its result; its function's own arrays are computed from it.
    """
    op, turn = each.order
    if is_gradient or turn == BACKWARD_S:
        return True, -op, turn != RESULT_S
    return False, op, turn == RESULT_S
