"""How large the gradient is where it leaves each layer, and in the layer's parameters."""

from __future__ import annotations

import math
from typing import NamedTuple

from autograd import Node, Tensor
from autograd.norm import norm
from minillm.module import Module


class LayerFlow(NamedTuple):
    """Gradients of one layer after a whole backward pass.

    Attributes:
        layer: its path, such as "blocks.0.attn"; the class in brackets for the model itself.
        output_norm: norm of the gradient of what the layer returns.
        parameter_norm: norm of the gradients of its parameters and of those of the layers in it; 0 without any.
    """

    layer: str
    output_norm: float
    parameter_norm: float


def gradient_flow(model: Module, loss: Tensor) -> list[LayerFlow]:
    """Of each layer that computed something, in the order in which they returned; a layer after those in it.

    A backward pass of its own: gradients of the parameters are put back at the end.
    """
    parameters = list(model.parameters())
    before = [None if (grad := p.gradient_set()) is None else grad.copy() for p in parameters]
    model.zero_grad()
    try:
        output_norms = {step.node: norm(step.dy) for step in loss.backward_steps(retain_graph=True)}
        return _by_layer(model, output_norms)
    finally:
        for p, grad in zip(parameters, before, strict=True):
            p.set_gradient(grad)


def _by_layer(model: Module, output_norms: dict[Node, float]) -> list[LayerFlow]:
    """`output_norms` has the newest node first."""
    found = []
    for path, module in model.named_modules():
        inside = set(dict(module.named_modules()).values())
        output = next((node for node in output_norms if node.origin.layer in inside), None)
        if output is not None:
            grads = [grad for p in module.parameters() if (grad := p.gradient_set()) is not None]
            flow = LayerFlow(path or f"({type(module).__name__})", output_norms[output], math.hypot(*map(norm, grads)))
            found.append((output.seq, -len(path), flow))
    return [flow for _, _, flow in sorted(found)]
