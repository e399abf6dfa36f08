"""Which functions of this project are mutated, and which of their mutants are no bugs."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from typing import Any

import minillm  # noqa: F401  # registers the ops of every layer
from autograd import Op
from autograd.backends import numpy as numpy_backend
from autograd.backward_pass import accumulate, add_gradients, upstream_gradient
from autograd.checkpoint import checkpoint
from autograd.gradcheck.mutants import Mutant, mutants_of
from autograd.ops import broadcast, reduce
from autograd.tape import tape
from minillm.layers import activations, attention, cross_entropy, dropout, layernorm
from minillm.train.loop import accumulate_gradients

# what gradients go through beside the backward functions, and which of its lines: the others cannot change one
HELPERS: list[tuple[Callable[..., Any], str]] = [
    (broadcast.unbroadcast, ""),
    (reduce._kept_shape, "%"),
    (numpy_backend.scatter_add, ""),
    (dropout.keep_mask, "return"),
    (attention.attention_probs, r"np\.tri|allowed &|^ +mask:"),
    (attention.masked_softmax, ""),
    (cross_entropy.target_shares, "weight"),
    (activations.relu_forward, "positive ="),
    (layernorm.scale_and_shift, ""),
    (add_gradients, ""),
    (upstream_gradient, "ones_like"),
    (accumulate, ""),
    (tape, "sorted"),
    (checkpoint, r"leaf\.grad"),
    (accumulate_gradients, "backward"),
]

_WHETHER = "backward asks of this bias only whether there is one, and so there is when it is rolled"

# mutants that compute the same: name -> proof
EQUIVALENT = {
    "embedding: stale saved array, line 1: weight -> rolled(weight)": (
        "backward asks of the table only how many rows it has, and rolled it has as many"
    ),
    "feed_forward_half: stale saved array, line 10: fc_bias -> rolled(fc_bias)": _WHETHER,
    "feed_forward_half: stale saved array, line 12: proj_bias -> rolled(proj_bias)": _WHETHER,
    "attention_half: stale saved array, line 11: qkv_bias -> rolled(qkv_bias)": _WHETHER,
    "attention_half: stale saved array, line 13: proj_bias -> rolled(proj_bias)": _WHETHER,
    "head_loss: stale saved array, line 7: norm_bias -> rolled(norm_bias)": _WHETHER,
    "masked_softmax: wrong constant, line 5: 0 -> 1": (
        "the shift is not finite where all scores of the row are -inf, and these stay -inf whatever is subtracted"
    ),
    "masked_softmax: wrong constant, line 8: 1 -> 2": (
        "the total is zero where all probabilities of the row are, and these stay zero whatever they are divided by"
    ),
    "target_shares: wrong constant, line 9: 1 -> 2": (
        "weights are not negative, so their sum is zero where all are, and these stay zero whatever they are divided by"
    ),
}


def project_mutants() -> Iterator[Mutant]:
    """The mutants of every reference backward of this project, and of what gradients go through beside them."""
    for op in Op.registry.values():
        backward = op.backward.reference
        if backward.__module__.split(".")[0] in ("autograd", "minillm"):  # not what somebody registered beside them
            yield from mutants_of(backward)
    for function, lines in HELPERS:
        yield from (mutant for mutant in mutants_of(function) if re.search(lines, _line(mutant)))


def _line(mutant: Mutant) -> str:
    """The line of source that a mutant changes."""
    file, _, line = mutant.place.rpartition(":")
    return linecache.getline(file, int(line))
