"""The one table of cases: every registered op is run through all of its cases, on every backend, in every check.

To add an op, add a line here. Shapes are small and nasty: axes of length 1, one time step, repeated ids, broadcasting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autograd import Op
from autograd.gradcheck.arrays import is_float
from autograd.gradcheck.subject import named_inputs
from minillm import GPT  # noqa: F401  # importing it registers the ops of every layer

Inputs = Callable[[np.random.Generator], list[Any]]


@dataclass(frozen=True)
class Case:
    """One call of an op.

    `inputs(rng)` makes its arguments, floats in float64. `constants` are the names of floating-point arguments that
    get no gradient. `analytic`: the forward takes complex numbers, so that a complex step passes through it.
    """

    op: str
    note: str
    inputs: Inputs
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    analytic: bool = True

    def __str__(self) -> str:
        return f"{self.op}: {self.note}"

    def make(self, dtype: str = "float64") -> list[Any]:
        """The arguments, the same on every call, floating-point arrays in `dtype`."""
        made = self.inputs(np.random.default_rng(0))
        return [np.array(x, dtype) if is_float(x) else x for x in made]  # an array also where it is 0-d

    def wrt(self, inputs: list[Any]) -> list[int]:
        """Positions of the arguments that get a gradient."""
        names = list(named_inputs(Op.registry[self.op].forward.reference, inputs))
        return [i for i, x in enumerate(inputs) if is_float(x) and names[i] not in self.constants]

    def run(self, inputs: list[Any], **attributes: Any) -> tuple[Any, tuple[Any, ...]]:
        """The reference forward on these arrays: y, saved."""
        y, saved = Op.registry[self.op].forward.reference(*inputs, **(self.attributes | attributes))
        return y, saved

    def backward(self, dy: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The reference backward: a gradient, or None, for each argument."""
        dxs: tuple[Any, ...] = Op.registry[self.op].backward.reference(dy, *saved)
        return dxs


def normal(*shapes: tuple[int, ...]) -> Inputs:
    """An array of normal numbers for each shape."""
    return lambda rng: [np.asarray(rng.standard_normal(shape)) for shape in shapes]


def away_from_zero(*shapes: tuple[int, ...]) -> Inputs:
    """Numbers of either sign, at least 0.5 from zero: no kink, no pole."""
    return lambda rng: [np.asarray(rng.choice([-1, 1], shape) * rng.uniform(0.5, 2, shape)) for shape in shapes]


def positive(shape: tuple[int, ...]) -> Inputs:
    return lambda rng: [rng.uniform(0.5, 2, shape)]


def distinct(shape: tuple[int, ...]) -> Inputs:
    """Numbers that differ by at least 0.1 each: a maximum without ties."""
    return lambda rng: [rng.permutation(np.arange(float(np.prod(shape)))).reshape(shape) * 0.1]


def then(inputs: Inputs, *constants: Any) -> Inputs:
    """`inputs`, followed by these arguments as they are."""
    return lambda rng: [*inputs(rng), *constants]


def before(constant: Any, inputs: Inputs) -> Inputs:
    return lambda rng: [constant, *inputs(rng)]


def packed(*documents: list[int]) -> Any:
    """Booleans (B, T, T), True where query and key are of the same document, from each row's document numbers."""
    rows = np.array(documents)  # (B, T)
    return rows[:, :, None] == rows[:, None]


def optional(*shapes: tuple[int, ...] | None) -> Inputs:
    """An array of normal numbers for each shape, None for None."""
    return lambda rng: [None if shape is None else rng.standard_normal(shape) for shape in shapes]


SMALL = (2, 3)
BROADCASTS = {
    "equal": ((2, 3), (2, 3)),
    "row": ((2, 3), (3,)),
    "both": ((2, 1, 3), (4, 1)),
    "0-d": ((), (2, 1)),
    "both 0-d": ((), ()),
    "length 1": ((1, 1), (1,)),
    "new axis of length 1": ((1, 2, 3), (1, 3)),
}

CASES = [
    *(
        Case(op, note, away_from_zero(*s))
        for op in ("add", "subtract", "multiply", "divide")
        for note, s in BROADCASTS.items()
    ),
    *(Case(op, "number", then(normal(SMALL), 2.5)) for op in ("add", "subtract", "multiply", "divide")),
    *(
        Case(op, "number first", before(2.5, away_from_zero((3, 1))))
        for op in ("add", "subtract", "multiply", "divide")
    ),
    *(Case(op, "0-d and number", then(away_from_zero(()), 2.5)) for op in ("add", "subtract", "multiply", "divide")),
    *(Case(op, "plain", normal((2, 1, 3))) for op in ("negative", "exp", "tanh", "gelu", "gelu_tanh", "softmax")),
    *(Case(op, "0-d", normal(())) for op in ("negative", "exp", "tanh", "erf", "gelu", "gelu_tanh")),
    *(Case(op, "plain", positive((3, 2))) for op in ("log", "sqrt")),
    *(Case("power", f"{n}", positive((3, 2)), {"exponent": n}) for n in (2, 3, 0.5, -1.5)),
    Case("power", "negative base", away_from_zero((4,)), {"exponent": 2}),
    Case("erf", "every piece", lambda rng: [np.array([-7, -5, -2, -1, -0.5, -1e-9, 1e-9, 0.3, 0.9, 1.3, 2.5, 3, 6.5])]),
    Case("relu", "away from the kink", away_from_zero((3, 1, 2))),
    Case("where", "plain", before(np.array([[True, False, True]]), normal((2, 3), (2, 1)))),
    Case("where", "both broadcast", before(np.array([[True], [False]]), normal((3,), (2, 1, 3)))),
    Case("where", "number", then(before(np.array([True, False, False]), normal((2, 3))), 0.5)),
    # reductions, softmax
    *(
        Case(op, f"axis {axis}{', keepdims' if keep else ''}", distinct((2, 1, 3)), {"axis": axis, "keepdims": keep})
        for op in ("reduce_sum", "reduce_mean", "reduce_max")
        for axis in (None, 0, -1, (0, 2))
        for keep in (False, True)
    ),
    Case("softmax", "first axis", normal((3, 2)), {"axis": 0}),
    Case("softmax", "one class", normal((3, 1))),
    Case("softmax", "large", lambda rng: [rng.standard_normal((2, 3)) + 1e3]),
    # shapes
    Case("reshape", "split and merge", normal((2, 1, 6)), {"shape": (3, 4)}),
    Case("reshape", "to 0-d", normal((1, 1)), {"shape": ()}),
    Case("reshape", "-1", normal((2, 3)), {"shape": (-1,)}),
    Case("transpose", "reversed", normal((2, 1, 3))),
    Case("transpose", "cycle", normal((2, 3, 4)), {"axes": (1, 2, 0)}),
    Case("transpose", "negative axes", normal((2, 3, 4)), {"axes": (-1, 0, 1)}),
    Case("broadcast_to", "new and repeated axes", normal((1, 3)), {"shape": (4, 2, 3)}),
    Case("broadcast_to", "0-d", normal(()), {"shape": (2, 2)}),
    Case("concatenate", "first axis", normal((2, 3), (1, 3), (4, 3))),
    Case("concatenate", "last axis", normal((2, 1, 3), (2, 1, 1)), {"axis": -1}),
    Case("concatenate", "one", normal((2, 3)), {"axis": 1}),
    Case("cast", "float64", normal(SMALL), {"dtype": np.dtype("float64")}, analytic=False),
    # indexing
    Case("getitem", "slice", normal((4, 3)), {"index": slice(1, None, 2)}),
    Case("getitem", "basic mix", normal((2, 3, 4)), {"index": (0, None, ..., slice(None, None, -1))}),
    Case("getitem", "one element", normal((3,)), {"index": 1}),
    Case("getitem", "repeated ids", normal((4, 2)), {"index": np.array([[1, 1], [3, 1]])}),
    Case("getitem", "pairs", normal((4, 3)), {"index": (np.array([0, 0, 3]), np.array([2, 2, 0]))}),
    Case("getitem", "negative ids", normal((4,)), {"index": np.array([-1, 3, 0])}),
    Case("getitem", "booleans", normal((3, 2)), {"index": np.array([True, False, True])}),
    # products
    *(
        Case("matmul", f"{a} @ {b}", normal(a, b))
        for a, b in (
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((1, 1), (1, 1)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3,), (2, 3, 2)),
            ((2, 2, 3), (3,)),
        )
    ),
    Case("linear", "plain", normal((2, 3), (4, 3), (4,))),
    Case("linear", "batch and time", normal((2, 1, 3), (4, 3), (4,))),
    Case("linear", "one feature", normal((2, 1), (1, 1), (1,))),
    Case("linear", "without bias", normal((2, 3), (4, 3))),
    Case("linear", "vector", normal((3,), (2, 3), (2,))),
    # layers
    Case("embedding", "repeated ids", before(np.array([[1, 1, 4], [0, 1, 4]]), normal((6, 2)))),
    Case("embedding", "one id, one column", before(np.array([2]), normal((3, 1)))),
    Case("embedding", "no ids", before(np.zeros((0,), int), normal((3, 2)))),
    Case("layernorm", "plain", normal((2, 3, 5), (5,), (5,))),
    Case("layernorm", "without bias", normal((3, 4), (4,))),
    Case("layernorm", "one row", normal((1, 4), (4,), (4,)), {"eps": 0.1}),
    Case("layernorm", "one feature", normal((2, 1), (1,), (1,))),
    Case("layernorm", "vector", normal((4,), (4,), (4,))),
    Case("attention", "causal", normal((2, 3, 12)), {"n_head": 2}),
    Case("attention", "one step", normal((2, 1, 6)), {"n_head": 1}),
    Case("attention", "head width 1", normal((1, 3, 6)), {"n_head": 2}),
    Case("attention", "not causal", normal((1, 3, 6)), {"n_head": 1, "causal": False}),
    Case("attention", "right padding", then(normal((2, 3, 6)), np.array([[1, 1, 0], [1, 1, 1]], bool)), {"n_head": 2}),
    # left padding masks the first rows of the second sequence fully; the first sequence is masked in all
    Case("attention", "masked rows", then(normal((2, 3, 6)), np.array([[0, 0, 0], [0, 0, 1]], bool)), {"n_head": 1}),
    Case("attention", "packed", then(normal((1, 5, 6)), packed([0, 0, 1, 1, 1])), {"n_head": 2}),
    Case(
        "attention",
        "one query masked",
        then(normal((2, 2, 6)), np.array([[[0, 0], [1, 1]], [[1, 0], [1, 0]]], bool)),
        {"n_head": 1, "causal": False},
    ),
    Case("attention", "dropout", normal((2, 3, 6)), {"n_head": 1, "dropout": 0.4, "dropout_key": (7, 3)}),
    Case(
        "attention_half",
        "plain",
        optional((2, 3, 4), (4,), (4,), (12, 4), (12,), (4, 4), (4,)),
        {"n_head": 2},
    ),
    Case(
        "attention_half",
        "no biases",
        optional((1, 4, 3), (3,), None, (9, 3), None, (3, 3), None),
        {"n_head": 3},
    ),
    Case(
        "attention_half",
        "one step",
        optional((2, 1, 2), (2,), (2,), (6, 2), (6,), (2, 2), (2,)),
        {"n_head": 1, "eps": 0.1},
    ),
    Case("dropout", "plain", normal((3, 5)), {"p": 0.4, "key": (1, 2)}),
    Case("dropout", "p = 0", normal((2, 1)), {"p": 0.0, "key": (0, 0)}),
    Case("cross_entropy", "plain", then(normal((3, 5)), np.array([4, 0, 0]))),
    Case("cross_entropy", "ignored", then(normal((2, 2, 3)), np.array([[-1, 2], [0, -1]]))),
    Case(
        "cross_entropy",
        "weights",
        then(normal((2, 2, 3)), np.array([[1, 2], [-1, 0]]), np.array([[0.5, 2], [3, 0]])),
        constants=("weights",),
    ),
    Case("cross_entropy", "all ignored", then(normal((2, 3)), np.array([-1, -1]))),
    Case("cross_entropy", "one class", then(normal((2, 1)), np.array([0, 0]))),
    Case("cross_entropy", "large", then(lambda rng: [1e4 * rng.standard_normal((2, 3))], np.array([0, 2]))),
    Case("feed_forward_half", "plain", normal((2, 3, 4), (4,), (4,), (5, 4), (5,), (4, 5), (4,))),
    Case("feed_forward_half", "no biases", optional((3, 2), (2,), None, (5, 2), None, (2, 5), None)),
    Case("feed_forward_half", "one row", normal((1, 3), (3,), (3,), (2, 3), (2,), (3, 2), (3,)), {"eps": 0.1}),
    Case("feed_forward_half", "vector", normal((4,), (4,), (4,), (3, 4), (3,), (4, 3), (4,))),
    Case("head_loss", "plain", then(normal((2, 3, 4), (4,), (4,), (5, 4)), np.array([[4, 0, 0], [1, -1, 2]]))),
    Case("head_loss", "no bias", then(optional((3, 2), (2,), None, (7, 2)), np.array([6, 0, 3]))),
    Case(
        "head_loss",
        "weights",
        then(normal((2, 2, 3), (3,), (3,), (1, 3)), np.array([[0, 0], [-1, 0]]), np.array([[0.5, 2], [3, 0]])),
        constants=("weights",),
    ),
    Case("head_loss", "all ignored", then(normal((2, 3), (3,), (3,), (4, 3)), np.array([-1, -1])), {"eps": 0.1}),
]
