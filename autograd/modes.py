"""What is switched on right now: recording, the backend, the random stream, observers, compositions.

Each mode is a ContextVar, so that threads and async tasks can differ; a new thread starts from the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from autograd.layer_paths import Layers

if TYPE_CHECKING:
    from autograd.debug.breakpoints import break_on
    from autograd.random import Stream

recording: ContextVar[bool] = ContextVar("recording", default=True)
backend_name: ContextVar[str] = ContextVar("backend_name", default="numpy")
random_stream: ContextVar[Stream | None] = ContextVar("random_stream", default=None)
observers: ContextVar[tuple[Callable[..., None], ...]] = ContextVar("observers", default=())
composed: ContextVar[Layers | None] = ContextVar("composed", default=None)
breakpoints: ContextVar[tuple[break_on, ...]] = ContextVar("breakpoints", default=())


@contextmanager
def setting(mode: ContextVar[Any], value: object) -> Iterator[None]:
    """Set a mode inside the block."""
    token = mode.set(value)
    try:
        yield
    finally:
        mode.reset(token)


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording, as a `with` block or as a decorator: results need no gradient."""
    with setting(recording, False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Record again inside a `no_grad` block."""
    with setting(recording, True):
        yield


@contextmanager
def use_stream(stream: Stream) -> Iterator[None]:
    """Draw dropout masks from `stream` inside the block."""
    with setting(random_stream, stream):
        yield


@contextmanager
def observe(callback: Callable[..., None]) -> Iterator[None]:
    """Call `callback(op, inputs, attributes, y)` after each op's forward, after those that observe already.

    `op` is the Op, `inputs` its positional arguments, `attributes` its keyword arguments, `y` the Tensor it returns,
    with its node if one is recorded.
    """
    with setting(observers, (*observers.get(), callback)):
        yield


@contextmanager
def compose(on: bool = True, *, layer: str = "*") -> Iterator[None]:
    """Run ops as the composition of their primitives, where they have one, instead of as their hand-written pair.

    The gradients then come from the tape alone, so that they can be compared with the hand-written ones. `on=False`
    goes back to the pairs inside such a block.

    Args:
        layer: path of a layer, which stands for all below it too; with wildcards, such as "blocks.*.attn". Only the
            ops that these layers call are composed. Inside such a block, another one counts alone.

    Raises:
        LookupError: at the block's end, if no op ran in such a layer.
    """
    layers = Layers(layer) if on else None
    with setting(composed, layers):
        yield
    if layers is not None:
        layers.check()
