"""A function of Tensors, a module or a whole model under check: its gradients come from the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograd import modes
from autograd.backends import Array, to_host
from autograd.gradcheck.arrays import is_float, jitter, read_only, to_device
from autograd.gradcheck.calling import BACKWARD, FORWARD, call, describe
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.frozen import frozen_randomness
from autograd.gradcheck.subject import (
    Subject,
    Values,
    check_number,
    checked_gradient,
    differentiable,
    name_of,
    named_inputs,
)
from autograd.op import Op
from autograd.tape import Node, tape
from autograd.tensor import Tensor


@dataclass(frozen=True)
class Call:
    """One run of an op: its arrays and other inputs, its attributes, which inputs get a gradient."""

    op: Op
    inputs: list[Any]
    attributes: dict[str, Any]
    differentiated: list[bool]

    @classmethod
    def of(cls, op: Op, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Call:
        differentiated = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
        return cls(op, [x.data if isinstance(x, Tensor) else x for x in inputs], attributes, differentiated)

    @property
    def constants(self) -> list[str]:
        """Names of the inputs that get no gradient."""
        names = named_inputs(self.op.forward.reference, self.inputs)
        return [name for name, needed in zip(names, self.differentiated, strict=True) if not needed]


class Recorded(Subject):
    """`function(*inputs, **attributes) -> Tensor`, with parameters that it reaches by itself.

    Of a tuple of outputs, such as a model's logits and loss, the last Tensor is the one that is checked.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        *,
        parameters: Mapping[str, Tensor],
        constants: Sequence[str],
        dtype: str,
        seed: int,
        names: Sequence[str] | None = None,
        compose: bool = False,
    ) -> None:
        self._function, self._compose = function, compose
        arguments = named_inputs(function, inputs) if names is None else dict(zip(names, inputs, strict=True))
        both = sorted(arguments.keys() & parameters.keys())
        if both:
            raise GradcheckError(f"{both[0]!r} is the name of an input and of a parameter: rename one of them")
        self._inputs = list(arguments)
        self._parameters = {name: p for name, p in parameters.items() if p.requires_grad}
        values = {**arguments, **{name: p.data for name, p in self._parameters.items()}}
        super().__init__(name_of(function), values, differentiable(values, constants), attributes, dtype, seed)

    def composition(self, function: Callable[..., Any] | None) -> Recorded | None:
        """The same with each op run as its composition, or `function` in its place; None if no op has one."""
        if function is None and not any(call.op.composed for call in self.calls()):
            return None
        return Recorded(
            function or self._function,
            [self.values[name] for name in self._inputs],
            self.attributes,
            parameters=self._parameters,
            constants=[name for name in self.values if name not in self.wrt],
            dtype="float64",
            seed=self.seed,
            names=self._inputs,
            compose=True,
        )

    def calls(self) -> list[Call]:
        """What ops a forward pass runs, in order."""
        seen: list[Call] = []
        with (
            frozen_randomness(self.seed),
            modes.enable_grad(),
            in_place(self._parameters, self.values),
            modes.observe(lambda op, inputs, attributes, _: seen.append(Call.of(op, inputs, attributes))),
        ):
            self._call([self._argument(name, self.values[name]) for name in self._inputs])
        return seen

    def _forward(self, values: Values) -> Array:
        with modes.no_grad(), in_place(self._parameters, values):
            return to_host(self._call([self._argument(name, values[name]) for name in self._inputs]).data)

    def _gradients(self, values: Values, dy: Array, rng: np.random.Generator | None) -> dict[str, Array]:
        unreached: list[str] = []
        with modes.enable_grad(), in_place(self._parameters, values):
            leaves = {name: self._argument(name, values[name]) for name in self._inputs}
            y = self._call(list(leaves.values()))
            if y.node is None:
                raise GradcheckError(
                    f"{self.name} returned a Tensor without history, so no gradient at all: compute it from its inputs "
                    "with ops of the engine, outside no_grad()"
                )
            for node in tape(y):
                node.backward = self._checked(node)
                assert node.saved is not None
                if rng is not None:
                    node.saved = tuple(jitter(s, rng) for s in node.saved)
            reached = {id(parent) for node in tape(y) for parent in node.parents}
            y.backward(to_device(np.asarray(dy)))
            found: dict[str, Array] = {}
            for name in self.wrt:
                leaf = leaves.get(name, self._parameters.get(name))
                assert leaf is not None
                if leaf.grad is None or (id(leaf) not in reached and not to_host(leaf.grad).any()):
                    unreached.append(name)
                else:
                    found[name] = np.array(to_host(leaf.grad))
        if unreached:
            raise GradcheckError(self._unreached(unreached[0]))
        return found

    def _unreached(self, name: str) -> str:
        """Why no gradient reaches a leaf: with NaN in its place, the output changes if it is used at all."""
        x = self.values[name]
        y, of_nan = self.forward(self.values), self.forward({**self.values, name: np.full_like(x, np.nan)})
        what = f"{name} of {x.dtype} {x.shape}"
        unless = f"or name it in constants=[{name!r}] if it is to have no gradient"
        if np.array_equal(y, of_nan):
            return f"{self.name} never uses {what}: use it, remove it, {unless}"
        return (
            f"{self.name} uses {what}, but backward() never reaches it, so it has no gradient at all: look for a "
            f"detach(), a no_grad() or a plain array on its way, {unless}"
        )

    def _call(self, arguments: list[Any]) -> Tensor:
        with modes.compose() if self._compose else nullcontext():
            result = call(self.name, FORWARD, self._function, *arguments, **self.attributes)
        return last_tensor(self.name, result)

    def _argument(self, name: str, value: Any) -> Any:
        """What the function is handed: Tensors where a gradient is wanted, arrays and the rest as they are."""
        return Tensor(to_device(value), requires_grad=is_float(value)) if name in self.wrt else to_device(value)

    def _checked(self, node: Node) -> Callable[..., Any]:
        """The node's backward, whose gradients must have the dtype of their inputs; the tape checks their shapes."""
        backward, parents = node.backward, node.parents

        def checked(dy: Array, *saved: Any) -> Any:
            dxs = call(f"{node.op}_backward", BACKWARD, backward, read_only(dy), *saved)
            check_number(f"{node.op}_backward", dxs, [f"input {i}" for i in range(len(parents))])
            for i, (parent, dx) in enumerate(zip(parents, dxs, strict=False)):
                if parent is not None:
                    checked_gradient(f"{node.op}_backward", f"input {i}", parent, dx)  # type: ignore[arg-type]  # has an array's shape and dtype
            return dxs

        return checked


def last_tensor(name: str, result: Any) -> Tensor:
    """What a function returned; of a tuple, such as a model's logits and loss, the last Tensor.

    Raises:
        GradcheckError: there is none.
    """
    outputs = [y for y in (result if isinstance(result, tuple) else (result,)) if isinstance(y, Tensor)]
    if not outputs:
        raise GradcheckError(
            f"{name} returned {describe(result)}: return a Tensor; plain functions of arrays are checked as a "
            "pair (forward, backward)"
        )
    return outputs[-1]


@contextmanager
def in_place(parameters: Mapping[str, Tensor], values: Values) -> Iterator[None]:
    """The parameters with these values and gradients of zero; what they had is put back at the end.

    Past a subclass's own rule for assignment: minillm's would write into the model's buffers.
    """
    before = {name: (p.data, p.grad) for name, p in parameters.items()}
    for name, p in parameters.items():
        object.__setattr__(p, "data", to_device(values[name]))
        object.__setattr__(p, "grad", None if _is_complex(values[name]) else np.zeros_like(p.data))
    try:
        yield
    finally:
        for name, p in parameters.items():
            for attribute, value in zip(("data", "grad"), before[name], strict=True):
                object.__setattr__(p, attribute, value)


def _is_complex(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "c"
