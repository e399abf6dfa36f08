"""Op: a forward function and its hand-written backward, made callable on Tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from autograd import backends, modes, origin, saved
from autograd.kernel import Function, Kernel
from autograd.tape import AutogradError, Node
from autograd.tensor import Tensor

Composition = Callable[..., Tensor]


class Op:
    """Glue between a pair of plain functions of arrays and the tape.

        x_forward(*arrays, **attributes) -> y, saved        saved: a tuple, handed to backward as it is
        x_backward(dy, *saved) -> (dx, ...)                 one gradient per input array, in order

    An input may be None or an array of integers: its gradient is None. A Python number stays one, so that NumPy's
    promotion leaves float32 alone. The op is named after its forward, and registered under that name.

    `composed`, where there is one, computes the same out of primitives, and runs instead inside `compose()`.
    """

    registry: ClassVar[dict[str, Op]] = {}

    def __init__(self, forward: Function, backward: Function) -> None:
        self.name = forward.__name__.removesuffix("_forward")
        self.forward, self.backward = Kernel(forward), Kernel(backward)
        self.composed: Composition | None = None
        Op.registry[self.name] = self

    def __repr__(self) -> str:
        return self.name

    def fast(self, backend: str) -> Callable[[Function], Function]:
        """Decorator: the function is the fast twin of `<op>_forward` or `<op>_backward`, by its name."""

        def register(twin: Function) -> Function:
            for kernel in (self.forward, self.backward):
                if twin.__name__.startswith(kernel.reference.__name__):
                    kernel.add(backend, twin)
                    return twin
            raise ValueError(f"{twin.__name__} is no twin of {self.name}: call it {self.name}_forward_{backend} or so")

        return register

    def composition(self, function: Composition) -> Composition:
        """Decorator: `x_composed(*tensors, **attributes) -> Tensor` is the op's formula in primitives.

        It has the forward's signature. Arrays of numbers reach it as Tensors; ids and masks as plain arrays.
        """
        self.composed = function
        return function

    def has_twin(self, *inputs: Any) -> bool:
        """Whether a call with these inputs would run a fast twin of the forward.

        A fused op asks: where it has none, its parts run instead, and so they do for an observer and inside
        `compose()`, who are to see each of them.
        """
        if modes.observers.get() or modes.composed.get() is not None:
            return False
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        return self.forward.has_twin(backends.name_of(*arrays), *arrays)

    def __call__(self, *inputs: Any, **attributes: Any) -> Tensor:
        """Run the forward on the arrays of `inputs` and record a Node if one of them requires a gradient."""
        layers = modes.composed.get()
        if layers is not None and layers.have(origin.here().layer_path) and self.composed is not None:
            return self.composed(*map(_operand, inputs), **attributes)
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        backend = backends.name_of(*arrays)
        result = self.forward.on(backend)(*arrays, **attributes)
        if not (type(result) is tuple and len(result) == 2 and type(result[1]) is tuple):
            raise AutogradError(
                f"{self.name}_forward did not return y and a tuple of what the backward needs: `return y, (x, weight)`"
            )
        y, values = result
        parents: tuple[Node | Tensor | None, ...] = ()
        if modes.recording.get():
            parents = tuple(x.node or x if isinstance(x, Tensor) and x.requires_grad else None for x in inputs)
        if any(parent is not None for parent in parents):
            # writing to a saved array through another array object must raise too: through an input, or through y
            kept = set(map(id, values))
            aliases = tuple(a for a in (y, *arrays) if id(a) in kept or saved.shares_memory(a, values))
            output = Tensor(y, True, Node(self, self.backward.on(backend), values, parents, y, aliases))
        else:
            output = Tensor(y)
        for callback in modes.observers.get():
            callback(self, inputs, attributes, output)
        return output


def _operand(x: Any) -> Any:
    """An argument of a composition: numbers as a Tensor, ids and masks as an array, anything else as it is."""
    data = x.data if isinstance(x, Tensor) else x
    if not hasattr(data, "dtype"):
        return x
    return data if data.dtype.kind in "biu" else x if isinstance(x, Tensor) else Tensor(x)
