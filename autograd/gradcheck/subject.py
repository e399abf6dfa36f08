"""What is under check, seen as one function of named arrays: its values, its output, its analytic gradients.

A pair of plain functions needs nothing else of the engine; a function of Tensors, a module or a model is in `tape.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from autograd import modes
from autograd.backends import Array, to_host
from autograd.gradcheck.arrays import JITTER_ULPS, is_float, jitter, to_device, to_dtype, upstream
from autograd.gradcheck.calling import BACKWARD, FORWARD, call, describe, told
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.frozen import frozen_randomness
from autograd.gradcheck.tolerance import EPS
from autograd.names import named
from autograd.op import Op
from autograd.tensor import Tensor

Values: TypeAlias = Mapping[str, Any]


class ShapeError(GradcheckError):
    """A gradient of another shape than its input's."""

    def __init__(self, message: str, name: str, shape: tuple[int, ...], gradient: Array) -> None:
        super().__init__(message)
        self.name, self.shape, self.gradient = name, shape, gradient


class Subject(ABC):
    """A function under check.

    Attributes:
        name: what to call it in messages.
        values: every argument and parameter by name: NumPy arrays, and other things as they are.
        wrt: names of those that get a gradient.
        dtype: of the floating-point arrays.
        attributes: keyword arguments of the function.
    """

    def __init__(
        self,
        name: str,
        values: dict[str, Any],
        wrt: Sequence[str],
        attributes: Mapping[str, Any],
        dtype: str,
        seed: int,
    ) -> None:
        if dtype not in EPS:
            raise GradcheckError(f"gradients cannot be checked in {dtype!r}: choose one of {', '.join(map(repr, EPS))}")
        self.name, self.wrt, self.attributes, self.dtype, self.seed = name, list(wrt), dict(attributes), dtype, seed
        self.values = {key: to_dtype(value, dtype) for key, value in values.items()}
        if not self.wrt:
            given = ", ".join(f"{key} is {describe(value)}" for key, value in values.items()) or "no input at all"
            raise GradcheckError(
                f"{name} was given no floating-point array that gets a gradient ({given}), so there is nothing to "
                "check: give it one, such as np.asarray(x, float), and leave it out of constants"
            )

    def forward(self, values: Values) -> Array:
        """y, a host array; floats may be of any dtype, complex ones too. The same random numbers on every call."""
        with frozen_randomness(self.seed), np.errstate(all="ignore"), told(self.name, "forward", values, self.values):
            return self._forward(values)

    def gradients(self, values: Values, dy: Array) -> dict[str, Array]:
        """The analytic gradient of sum(dy * y) for each name in `wrt`, host arrays."""
        return self._told_gradients(values, dy, None)

    def forward_noise(self, values: Values, draws: int = 2) -> Array:
        """By how much each element of y moves when the inputs move by a rounding; the largest change of a few draws."""
        y = self.forward(values)
        largest = np.zeros(y.shape)
        for draw in range(draws):
            rng = np.random.default_rng((self.seed, 4, draw))
            moved = {name: jitter(v, rng) if name in self.wrt else v for name, v in values.items()}
            with np.errstate(all="ignore"):
                change = np.abs(self.forward(moved).astype(np.float64) - y) / JITTER_ULPS
            largest = np.maximum(largest, np.where(np.isfinite(change), change, 0))
        return largest

    def noise(self, values: Values, dy: Array, draws: int = 4) -> dict[str, Array]:
        """By how much each gradient moves when the numbers it is computed from move by a rounding.

        Inputs, saved arrays and dy are moved, each number for itself: a backward that subtracts large numbers which
        nearly cancel shows it so, whatever its formula. The largest change of a few draws.
        """
        exact = self.gradients(values, dy)
        largest = {name: np.zeros(g.shape) for name, g in exact.items()}
        for draw in range(draws):
            rng = np.random.default_rng((self.seed, draw))
            moved = {name: jitter(v, rng) if name in self.wrt else v for name, v in values.items()}
            with np.errstate(all="ignore"):
                changed = self._told_gradients(moved, jitter(dy, rng), rng)
                for name, g in exact.items():
                    change = np.abs(changed[name].astype(np.float64) - g) / JITTER_ULPS
                    largest[name] = np.maximum(largest[name], np.where(np.isfinite(change), change, 0))
        return largest

    def upstream(self, y: Array) -> Array:
        """The dy that this subject is checked with."""
        return upstream(y, np.random.default_rng((self.seed, 1)))

    def _told_gradients(self, values: Values, dy: Array, rng: np.random.Generator | None) -> dict[str, Array]:
        with frozen_randomness(self.seed), told(self.name, "backward", values, self.values):
            return self._gradients(values, dy, rng)

    def recast(self, dtype: str) -> dict[str, Any]:
        """`values` with their floating-point arrays in another dtype."""
        return {name: to_dtype(value, dtype) for name, value in self.values.items()}

    @abstractmethod
    def _forward(self, values: Values) -> Array: ...

    @abstractmethod
    def _gradients(self, values: Values, dy: Array, rng: np.random.Generator | None) -> dict[str, Array]:
        """With `rng`, the saved arrays are moved by a rounding before the backward reads them."""


class Pair(Subject):
    """`forward(*arrays, **attributes) -> y, saved` and `backward(dy, *saved) -> one gradient per input array`."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        *,
        constants: Sequence[str],
        dtype: str,
        seed: int,
    ) -> None:
        self._run, self._backward = forward, backward
        self.forward_name, self.backward_name = name_of(forward), name_of(backward)
        values = named_inputs(forward, inputs)
        wrt = differentiable(values, constants)
        super().__init__(self.forward_name.removesuffix("_forward"), values, wrt, attributes, dtype, seed)

    @classmethod
    def of(
        cls,
        op: Op,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        constants: Sequence[str],
        dtype: str,
        seed: int,
    ) -> Pair:
        """The pair that an op runs on the active backend."""
        backend = modes.backend_name.get()
        forward, backward = op.forward.on(backend), op.backward.on(backend)
        return cls(forward, backward, inputs, attributes, constants=constants, dtype=dtype, seed=seed)

    def run(self, values: Values) -> tuple[Any, tuple[Any, ...]]:
        """y and the saved arrays, on the active backend."""
        result = call(self.forward_name, FORWARD, self._run, *map(to_device, values.values()), **self.attributes)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], (tuple, list))):
            raise GradcheckError(
                f"{self.forward_name} returned {describe(result)}: return y and a tuple of what the backward needs, "
                "`return y, (x, weight)`"
            )
        y, saved = result
        if isinstance(y, Tensor) or (not hasattr(y, "dtype") and not isinstance(y, float | complex)):
            raise GradcheckError(f"{self.forward_name} returned {describe(y)} as y: return an array")
        return y, tuple(saved)

    def _forward(self, values: Values) -> Array:
        return to_host(self.run(values)[0])

    def _gradients(self, values: Values, dy: Array, rng: np.random.Generator | None) -> dict[str, Array]:
        _, saved = self.run(values)
        if rng is not None:
            saved = tuple(jitter(s, rng) for s in saved)
        dxs = call(self.backward_name, BACKWARD, self._backward, to_device(np.asarray(dy)), *saved)
        check_number(self.backward_name, dxs, list(values))
        return {
            name: checked_gradient(self.backward_name, name, values[name], dx)
            for name, dx in zip(values, dxs, strict=False)
            if name in self.wrt
        }


def check_number(backward: str, dxs: Any, inputs: Sequence[str]) -> None:
    """
    Raises:
        GradcheckError: `dxs` is no tuple with one gradient for each input.
    """
    if not isinstance(dxs, (tuple, list)):
        raise GradcheckError(
            f"{backward} returned {describe(dxs)}: return a tuple with one gradient per input array, None for integers"
        )
    if len(dxs) < len(inputs) or any(dx is not None for dx in dxs[len(inputs) :]):  # left-out inputs get None
        raise GradcheckError(
            f"{backward} returned {len(dxs)} gradients for {len(inputs)} inputs ({', '.join(inputs)}): return one per "
            "input array, in the order of the forward's arguments, None for integers"
        )


def checked_gradient(backward: str, name: str, x: Array, dx: Any) -> Array:
    """`dx` on the host, if it is a gradient of x by shape and dtype.

    Raises:
        GradcheckError: it is not; the message says how.
    """
    if dx is None:
        raise GradcheckError(f"{backward} returned None, no gradient at all, for {name} of {x.dtype} {x.shape}")
    if not hasattr(dx, "shape"):
        raise GradcheckError(f"{backward} returned {describe(dx)} as the gradient of {name}: return an array")
    if dx.shape != x.shape:
        raise ShapeError(
            f"{backward} returned a gradient of shape {dx.shape} for {name} of shape {x.shape}: "
            "a gradient has its input's shape",
            name,
            x.shape,
            to_host(dx),
        )
    if dx.dtype != x.dtype:
        raise GradcheckError(
            f"{backward} returned a gradient of {dx.dtype} for {name} of {x.dtype}: a gradient has its input's dtype"
        )
    return to_host(dx)


def named_inputs(function: Callable[..., Any], inputs: Sequence[Any]) -> dict[str, Any]:
    """The inputs under the names that the function's signature gives them; Tensors as their arrays."""
    if isinstance(inputs, Tensor) or hasattr(inputs, "dtype"):
        raise GradcheckError(f"inputs is {describe(inputs)}, not a list of inputs: put it in one, [x]")
    return {name: x.data if isinstance(x, Tensor) else x for name, x in named(function, inputs).items()}


def differentiable(values: Values, constants: Sequence[str]) -> list[str]:
    """Names of the floating-point arrays but for `constants`."""
    if isinstance(constants, str):
        raise GradcheckError(f"constants is the string {constants!r}: give a list of names, [{constants!r}]")
    unknown = [name for name in constants if name not in values]
    if unknown:
        raise GradcheckError(f"{unknown[0]!r} in constants is no input: the inputs are {', '.join(values)}")
    return [name for name, value in values.items() if is_float(value) and name not in constants]


def name_of(function: Any) -> str:
    """A name for messages."""
    return function.name if isinstance(function, Op) else str(getattr(function, "__name__", type(function).__name__))
