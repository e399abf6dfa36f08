"""Where did the NaN come from: the first number that is not finite, at the op that made it.

    with debug(model):
        _, loss = model(ids, targets)
        loss.backward()        # NonFiniteError: log in blocks.0.mlp gave -inf at [0, 3, 1], ...

Numbers that are not finite and do no harm, such as scores masked with -inf, are none of its business: it raises where
one would get out, by `backward()` or in a result that no op takes up, and where backward makes one.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from autograd import modes, origin
from autograd.backends import Array
from autograd.backward_pass import BackwardPass, watcher
from autograd.debug.errors import DebugError
from autograd.debug.nonfinite_forward import Results
from autograd.debug.nonfinite_line import inside
from autograd.debug.nonfinite_origin import (
    NonFinite,
    NonFiniteError,
    Place,
    op_in_layer,
    operands,
    origin_facts,
)
from autograd.debug.step import backward_arguments, input_pairs, target_name
from autograd.op import Op
from autograd.tape import Leaf, Node


@contextmanager
def debug(*models: Any, inf: bool = True) -> Iterator[None]:
    """Look for the first number that is not finite, in what ops compute and in gradients, inside the block.

    The error names the op, its layer, your line, the index, the operands and the way it went; also the line inside the
    op's function, where its reference, run again, tells it for certain. Fused ops run as their parts. NumPy's
    warnings about such numbers are off. Every op is followed by a look at its result, which on a GPU waits for it.

    Args:
        models: whose layers and parameters are called by their paths.
        inf: infinities count too, and not only NaN.

    Raises:
        NonFiniteError: at `backward()`, of a tensor that is not finite or before a gradient that is not accumulates;
            at the block's end, for a result that nobody took up. Any other exception gets a note instead.
        DebugError: something else than a model was given.
    """
    for model in models:
        if not callable(model) and not hasattr(model, "name_parts"):
            raise DebugError(f"debug() was given {type(model).__name__}, which is no model: give models, or nothing")
        if hasattr(model, "name_parts") and not getattr(model, "path", None):  # else a larger one has named it
            model.name_parts()
    watch = _Watch(Results(inf=inf))
    with np.errstate(all="ignore"), modes.observe(watch.results.see), modes.setting(watcher, watch):
        try:
            yield
        except NonFiniteError:
            raise
        except BaseException as error:
            for record in watch.results.take_loose():
                error.add_note(f"debug(): before this, {record.described()}")
            raise
    for record in watch.results.take_loose():
        raise NonFiniteError(record.described())


class _Watch:
    """Looks at what a backward pass starts from, and at each gradient before it accumulates."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def begin(self, run: BackwardPass, output: Leaf) -> None:
        """A pass is about to start.

        Raises:
            NonFiniteError: from something that is not finite.
        """
        if run.outer is not None or not run.nodes:  # a checkpoint's own result has been looked at
            return
        finite, last = self.results.finite, run.nodes[0]
        if not finite(output.data):
            self.results.take_loose()
            record = self.results.of(output)
            if record is not None:
                raise NonFiniteError(record.described())
            sentence = "backward() starts from {}, computed before debug(): put the forward pass into the block too"
            raise self._error(sentence, output.data, last)
        if not finite(run.dy):
            raise self._error("backward() was handed an upstream gradient of {}: hand it finite numbers", run.dy, last)
        for node in run.nodes:
            for parent in node.parents:
                grad = None if parent is None or isinstance(parent, Node) else parent.gradient_set()
                if grad is not None and not finite(grad):
                    sentence = (
                        f"the gradient of {target_name(parent)} was {{}} before this backward(): zero_grad() first"
                    )
                    raise self._error(sentence, grad, node)

    def look(self, run: BackwardPass, node: Node, dxs: Sequence[Array | None]) -> None:
        """The backward of `node` has run.

        Raises:
            NonFiniteError: it made a gradient that is not finite, or one that is not when it is added up.
        """
        finite = self.results.finite
        for name, (parent, dx) in input_pairs(node, list(dxs)).items():
            if parent is None or dx is None:
                continue
            if not finite(dx):
                if finite(run.dy):
                    raise NonFiniteError(self._made(run, node, name, dx))
                sentence = f"the gradients of what {op_in_layer(node.op, node.origin)} gave add up to {{}}"
                raise self._error(sentence, run.dy, node)
            before = None if isinstance(parent, Node) else parent.gradient_set()
            if before is not None and not any(dx is grad for grad in run.written) and not finite(before + dx):
                raise self._error(f"the gradients of {target_name(parent)} add up to {{}}", before + dx, node)

    def _made(self, run: BackwardPass, node: Node, name: str, dx: Array) -> NonFinite:
        """The node's backward made it out of finite numbers."""
        place, hint = Place.of(dx, inf=self.results.inf), ""
        record = self.results.of_node(node)
        if record is not None:
            first = record.first()
            assert first.facts is not None
            hint = f"in forward, {first.facts.sentence} ({first.origin})"
            if record.dropped_by is not None:
                hint += f", until {record.dropped_by} dropped it: what is dropped still takes part in backward"
        at = node.origin
        sentence = f"the backward of {op_in_layer(node.op, at)} made {place} of the gradient of its {name}"
        arguments = backward_arguments(node, run.dy)
        line = None
        if isinstance(node.op, Op) and node.saved is not None:
            pick = operator.itemgetter(list(input_pairs(node, [None] * len(node.parents))).index(name))
            line = inside(node.op.backward.reference, (run.dy, *node.saved), {}, place, pick, inf=self.results.inf)
        found = operands(arguments, place)
        facts = origin_facts(sentence, node.op, at, place, operands=found, hint=hint, inside=line)
        if run.outer is not None and at.user_line == origin.here().user_line:  # the line of the call of backward()
            facts = replace(facts, user_line=_outermost(run).origin.user_line)
        return facts

    def _error(self, sentence: str, array: Array, node: Node) -> NonFiniteError:
        place = Place.of(array, inf=self.results.inf)
        return NonFiniteError(origin_facts(sentence.format(place), node.op, node.origin, place))


def _outermost(run: BackwardPass) -> Node:
    """The checkpoint that runs this pass."""
    while run.outer is not None:
        run = run.outer
    assert run.node is not None
    return run.node
