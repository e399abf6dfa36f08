"""Parameter and Module: a named tree of layers over two flat buffers, one of values and one of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from autograd import Tensor, backends
from autograd.backends import Array

Role = Literal["weight", "embedding", "vector"]  # matrix of a linear layer, embedding table, bias or norm
Dtype = Literal["float32", "float64"]


class Parameter(Tensor):
    """A Tensor that is trained.

    `role` says which rule of weight decay applies. Within a model, `data` and `grad` are views into its flat
    buffers at `offset`; assigning to either writes into the buffer.
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


class FlatParameters:
    """All values of a model in one array, all gradients in another.

    Matrices of linear layers come first, then embeddings, then biases and norms: any rule of weight decay that
    goes by role is then one slice with decay and one without.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        order: tuple[Role, ...] = ("weight", "embedding", "vector")
        self.parameters = sorted(parameters, key=lambda p: order.index(p.role))  # stable: keeps the model's order
        first = self.parameters[0].data
        self.data = np.empty_like(first, shape=sum(p.size for p in parameters))
        self.grad = np.zeros_like(self.data)
        offset = 0
        for p in self.parameters:
            if p.dtype != first.dtype:
                raise TypeError(f"parameters of {first.dtype} and {p.dtype} cannot share one buffer: use one dtype")
            data = self.data[offset : offset + p.size].reshape(p.shape)
            data[...] = p.data
            p.data, p.grad = data, self.grad[offset : offset + p.size].reshape(p.shape)
            p.flat, p.offset = self, offset
            offset += p.size


class Module:
    """A layer, or a layer of layers. A subclass sets Parameters and Modules as attributes and defines `__call__`."""

    training = True

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

    def flatten(self) -> FlatParameters:
        """Move all parameters into one flat buffer on the active backend, and their gradients into another."""
        parameters = list(self.parameters())
        for p in parameters:
            p.data = backends.active().to_device(p.data)
        return FlatParameters(parameters)

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, training: bool = True) -> None:
        """Switch dropout on, here and in all layers below."""
        for _, module in self.named_modules():
            module.training = training

    def eval(self) -> None:
        """Switch dropout off."""
        self.train(False)
