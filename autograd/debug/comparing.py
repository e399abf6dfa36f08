"""Hand-written against composed: one computation run both ways, and every number of it compared by its name.

    print(compare(model, ids, targets))
    assert not compare(model.blocks[0].attn, x).different

Once each op runs as its hand-written pair, once, in the layers chosen, as the composition of primitives whose gradients
come from the tape alone.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autograd.debug.errors import DebugError

if TYPE_CHECKING:
    from autograd.debug.comparison import Comparison


def compare(function: Callable[..., Any], *inputs: Any, layer: str = "*", dtype: str | None = None) -> Comparison:
    """Run `function(*inputs)` and its backward hand-written and composed, and compare all that both have by name.

    Values and gradients of every intermediate, and the gradients of inputs and parameters. Backward starts from 1 where
    the output is a single number, else from random numbers, the same for both; dropout drops the same. The parameters,
    their gradients and the inputs are left as they were. Both run the readable references, on any backend's arrays.

    "exact" is the same to the last bit, "approximate" what rounding explains: at each place a difference of at most
    `64 * (eps * |value| + noise)`, where noise is by how much the hand-written result moves when every input, parameter
    and saved number moves by a rounding, at least the mean of its row (`autograd/gradcheck/tolerance.py`). Everything
    else is "different". An op without a composition is hand-written both times, and named. It runs six
    times, with all arrays in memory: give it a small batch.

    Args:
        function: a model, a layer, or any function that returns a Tensor, or a tuple whose last Tensor counts.
        inputs: Tensors, arrays, whatever it takes. Floating-point ones get a gradient.
        layer: path of a layer of a model, which stands for all below it too; with wildcards. Only there ops are
            composed.
        dtype: "float32" or "float64", to compute in; without it, the widest of the parameters and inputs.

    Raises:
        DebugError: there is no such layer, nothing that gets a gradient, or no function.
        GradcheckError: the function returned no Tensor.
    """
    if not callable(function):
        raise DebugError(f"compare() was given {type(function).__name__}: give a model, a layer or a function")
    if not isinstance(layer, str):
        raise DebugError(f"layer is {layer!r}: give its path, a string")
    from autograd.debug.both_ways import run_both  # needs gradcheck, which takes as long to import as all the rest

    # in a context of its own: observers, breakpoints and the backend of the caller have no part in it
    return contextvars.Context().run(run_both, function, inputs, layer, dtype)
