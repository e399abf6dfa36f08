"""Kernels do not look where they read and write: arrays that do not fit each other never reach one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autograd.backends import Array
from minillm.layers.activations import gelu_tanh
from minillm.layers.attention import attention
from minillm.layers.attention_half import attention_half
from minillm.layers.cross_entropy import cross_entropy
from minillm.layers.feed_forward_half import feed_forward_half
from minillm.layers.layernorm import layernorm
from minillm.layers.linear import linear

pytest.importorskip("numba")


def a(*shape: int) -> Array:
    return np.ones(shape, np.float32)


CALLS = {
    "layernorm: a short weight": lambda: layernorm.forward.on("numba")(a(2, 4), a(3)),
    "layernorm: a short bias": lambda: layernorm.forward.on("numba")(a(2, 4), a(4), a(3)),
    "layernorm: dy of fewer rows": lambda: layernorm.backward.on("numba")(
        a(1, 4), a(2, 4), a(2, 1), a(2, 1), a(4), None
    ),
    "gelu_tanh: a short dy": lambda: gelu_tanh.backward.on("numba")(a(3), a(4), a(4)),
    "attention: heads that do not divide C": lambda: attention.forward.on("numba")(a(1, 2, 12), n_head=3),
    "attention: a short dy": lambda: attention.backward.on("numba")(
        a(1, 1, 4), a(1, 2, 12), a(1, 2, 4), None, 2, True, 0.0, (0, 0)
    ),
    "linear: a narrow dy": lambda: linear.backward.on("numba")(a(2, 2), a(2, 4), a(3, 4), None),
    "linear: dy of fewer rows": lambda: linear.backward.on("numba")(a(1, 3), a(2, 4), a(3, 4), None),
    "attention_half: a narrow proj": lambda: attention_half.forward.on("numba")(
        a(1, 2, 4), a(4), None, a(12, 4), None, a(4, 3), None, n_head=2
    ),
    "attention_half: a short bias": lambda: attention_half.forward.on("numba")(
        a(1, 2, 4), a(4), None, a(12, 4), a(11), a(4, 4), None, n_head=2
    ),
    "feed_forward_half: a narrow proj": lambda: feed_forward_half.forward.on("numba")(
        a(1, 2, 4), a(4), None, a(8, 4), None, a(4, 7), None
    ),
    "cross_entropy: fewer targets": lambda: cross_entropy.forward.on("numba")(a(2, 4), np.array([1])),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_sizes_that_do_not_fit_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        call()


@pytest.mark.parametrize("arrays", [(a(4, 2), a(3, 4)), (a(2, 4), a(3, 4), a(2))], ids=["a narrow x", "a short bias"])
def test_linear_raises_what_numpy_does(arrays: tuple[Array, ...]) -> None:
    for run in (linear.forward.reference, linear.forward.on("numba")):
        with pytest.raises(ValueError, match=r"matmul: Input|could not be broadcast"):
            run(*arrays)


@pytest.mark.parametrize("target", [4, -2])
def test_a_target_without_a_logit_is_refused(target: int) -> None:
    with pytest.raises(IndexError, match="not in 0 to 3"):
        cross_entropy.forward.on("numba")(a(2, 4), np.array([target, 1]))
