"""Activation checkpointing: keep the inputs of a stretch of the network, and compute it again when backward comes.

Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from autograd import modes
from autograd.backends import Array
from autograd.random import current_stream
from autograd.tape import Node
from autograd.tensor import Tensor


def checkpoint(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)` without its intermediate arrays: backward runs it a second time, recorded.

    Gradients of leaves that `function` reaches by itself, such as a layer's parameters, are collected too, during
    the second run. Dropout draws the same masks in both.
    """
    stream = current_stream()
    before = copy.copy(stream)
    composed = modes.composed.get()
    with modes.no_grad():
        y = function(*inputs).data

    def checkpoint_backward(dy: Array, *arrays: Array) -> list[Array | None]:
        leaves = [Tensor(a, x.requires_grad) for a, x in zip(arrays, inputs, strict=True)]
        with modes.enable_grad(), modes.setting(modes.composed, composed), modes.use_stream(copy.copy(before)):
            function(*leaves).backward(dy)
        return [leaf.grad for leaf in leaves]

    if not modes.recording.get():
        return Tensor(y)
    parents = tuple(x.node or x if x.requires_grad else None for x in inputs)
    return Tensor(y, True, Node("checkpoint", checkpoint_backward, tuple(x.data for x in inputs), parents, y))
