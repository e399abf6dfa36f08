"""Parameter and Module: a named tree of layers over two flat buffers, one of values and one of gradients."""

from __future__ import annotations

import math
import mmap
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from autograd import Tensor, backends
from autograd.backends import Array

Role = Literal["weight", "embedding", "vector"]  # matrix of a linear layer, embedding table, bias or norm
Dtype = Literal["float32", "float64"]


def normal(shape: tuple[int, ...], std: float, rng: np.random.Generator, dtype: Dtype) -> Array:
    """N(0, std), in memory of its own.

    When the values lie in a flat buffer, this memory goes back to the system: the C library would keep much of its own,
    and a model would take twice its size.
    """
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(dtype).itemsize)
    values: Array = np.frombuffer(memory, dtype).reshape(shape)
    rng.standard_normal(dtype=dtype, out=values)
    values *= std
    return values


class Parameter(Tensor):
    """A Tensor that is trained.

    `role` says which rule of weight decay applies. Within a model, `data` and `grad` are views into its flat
    buffers at `offset`; assigning to either writes into the buffer. There a `grad` that is not set is zero, which is
    written into the buffer when someone asks for it: the first gradient after `zero_grad` has nothing to add to.
    """

    __slots__ = ("flat", "offset", "role")

    def __init__(self, data: Array, role: Role) -> None:
        super().__init__(data, requires_grad=True)
        self.role = role
        self.flat: FlatParameters | None = None
        self.offset = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("data", "grad") and getattr(self, "flat", None) is not None:
            view = getattr(self, name)
            if value is not view:  # `p.grad += x` assigns the view to itself
                view[...] = 0 if value is None else value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # asked for what is not set
        if name != "grad":
            raise AttributeError(f"a Parameter has no attribute {name!r}")
        self.write_zero_grad()
        return super().__getattribute__(name)

    def gradient_place(self) -> tuple[Array, int]:
        if self.gradient_set() is None and self.flat is not None:
            grad = self.flat.grad_view(self)
            super().__setattr__("grad", grad)
            return grad, 0
        return super().gradient_place()

    def gradient_set(self) -> Array | None:
        try:
            grad: Array | None = super().__getattribute__("grad")  # past __getattr__
        except AttributeError:
            return None
        return grad

    def set_gradient(self, grad: Array | None) -> None:
        if grad is None and self.flat is not None:
            if self.gradient_set() is not None:
                self.grad = None  # zeros, for whoever holds a view of it
            self.flat.unset(self)
        else:
            self.grad = grad

    def write_zero_grad(self) -> None:
        """Write the zeros of a gradient that is not set."""
        grad, beta = self.gradient_place()
        if not beta:
            grad[...] = 0


class FlatParameters:
    """All values of a model in one array, all gradients in another, which is made when it is needed first.

    Matrices of linear layers come first, then embeddings, then biases and norms: any rule of weight decay that
    goes by role is then one slice with decay and one without.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        order: tuple[Role, ...] = ("weight", "embedding", "vector")
        self.parameters = sorted(parameters, key=lambda p: order.index(p.role))  # stable: keeps the model's order
        first = self.parameters[0].data
        self.data = np.empty_like(first, shape=sum(p.size for p in parameters))
        self._grad: Array | None = None
        self._all_set = False  # no gradient is left that is zero and not written
        offset = 0
        for p in self.parameters:
            if p.flat is not None:
                raise ValueError(f"parameter {p.name} lies in a buffer already: flatten the whole model, and only once")
            if p.dtype != first.dtype:
                raise TypeError(f"parameters of {first.dtype} and {p.dtype} cannot share one buffer: use one dtype")
            data = self.data[offset : offset + p.size].reshape(p.shape)
            data[...] = p.data
            p.data = data
            del p.grad
            p.flat, p.offset = self, offset
            offset += p.size

    @property
    def grad(self) -> Array:
        """(n,), in the order of `data`."""
        if not self._all_set:
            for p in self.parameters:
                p.write_zero_grad()
            self._all_set = True
        return self._grads()

    def grad_view(self, p: Parameter) -> Array:
        """The place of p's gradient, whatever is in it."""
        return self._grads()[p.offset : p.offset + p.data.size].reshape(p.data.shape)

    def _grads(self) -> Array:
        if self._grad is None:
            self._grad = np.empty_like(self.data)
            self._unshared = self._n_references()
        return self._grad

    def _n_references(self) -> int:
        """To the gradients: each view of them holds one."""
        return sys.getrefcount(self._grad)

    def unset(self, p: Parameter) -> None:
        """Make p's gradient zero; it is written when somebody asks for it."""
        self._all_set = False
        with suppress(AttributeError):  # it is not set
            del p.grad

    def zero_grads(self, parameters: list[Parameter]) -> None:
        """Set gradients to zero: where nobody holds a view of them, without touching memory."""
        for p in parameters:
            self.unset(p)
        if self._grad is not None and self._n_references() > self._unshared:
            for p in parameters:
                p.write_zero_grad()


def zero_grads(parameters: Iterable[Parameter]) -> None:
    """Set the gradients there are to zero."""
    within = defaultdict(list)
    for p in parameters:
        if p.flat is not None:
            within[p.flat].append(p)
        elif p.grad is not None:
            p.grad[...] = 0
    for flat, its in within.items():
        flat.zero_grads(its)


class Module:
    """A layer, or a layer of layers. A subclass sets Parameters and Modules as attributes and defines `__call__`.

    `path` is where it stands in the model, for people: `name_parts` sets it.
    """

    training = True
    path: str | None = None

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it; the path of the outermost is ""."""
        yield prefix, self
        for name, value in vars(self).items():
            children = {name: value} if isinstance(value, Module) else {}
            if isinstance(value, list):
                children = {f"{name}.{i}": child for i, child in enumerate(value) if isinstance(child, Module)}
            for path, child in children.items():
                yield from child.named_modules(f"{prefix}.{path}" if prefix else path)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once, named by the first place it is found at."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    yield f"{path}.{name}" if path else name, value

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def name_parts(self) -> None:
        """Tell every layer below its path, and every parameter its name."""
        for path, module in self.named_modules():
            module.path = path
        for path, parameter in self.named_parameters():
            parameter.name = path

    def flatten(self) -> FlatParameters:
        """Move all parameters into one flat buffer on the active backend, and their gradients into another."""
        self.name_parts()
        parameters = list(self.parameters())
        for p in parameters:
            p.data = backends.active().to_device(p.data)
        return FlatParameters(parameters)

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        zero_grads(self.parameters())

    def train(self, training: bool = True) -> None:
        """Switch dropout on, here and in all layers below."""
        for _, module in self.named_modules():
            module.training = training

    def eval(self) -> None:
        """Switch dropout off."""
        self.train(False)
