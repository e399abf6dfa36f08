"""The third oracle: each op equals a composition of primitives, whose gradients come from the tape alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, Case

from autograd import Op, Tensor, compose

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def tensors(case: Case, inputs: list[Any]) -> list[Any]:
    wanted = case.wrt(inputs)
    return [Tensor(x, requires_grad=True) if i in wanted else x for i, x in enumerate(inputs)]


@pytest.mark.parametrize("case", [c for c in CASES if Op.registry[c.op].composed], ids=str)
def test_an_op_equals_its_composition(case: Case) -> None:
    inputs = case.make()
    y, saved = case.run(inputs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(np.shape(y)))
    dxs = case.backward(dy, saved)
    leaves = tensors(case, case.make())
    with compose():
        composed = Op.registry[case.op](*leaves, **case.attributes)
    np.testing.assert_allclose(composed.data, y, **TOLERANCE)
    composed.backward(dy)
    for i in case.wrt(inputs):
        np.testing.assert_allclose(leaves[i].grad, dxs[i], **TOLERANCE)
