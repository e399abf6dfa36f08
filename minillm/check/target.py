"""What `gradcheck` is to check of a layer, and what the layers' targets have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np

from autograd import Tensor
from autograd.backends import Array
from autograd.gradcheck import Report, gradcheck
from autograd.gradcheck.laws import Law, vanishes
from autograd.gradcheck.subject import Values
from minillm.layers.cross_entropy import IGNORE_INDEX
from minillm.module import Module

N_HEAD, D_MODEL, VOCAB_SIZE, CONTEXT_LENGTH = 2, 6, 7, 5
DROPOUT = 0.3


@dataclass(frozen=True)
class Target:
    """The arguments of `gradcheck`; see there what they mean."""

    target: Any
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    laws: Sequence[Law] = ()
    directions: int | None = None

    def check(self, dtype: str, seed: int) -> Report:
        """The report of `gradcheck`, for which a complex step must work.

        Raises:
            GradcheckError: a gradient is wrong, or a law is broken.
        """
        return gradcheck(
            self.target,
            self.inputs,
            self.attributes,
            parameters=self.parameters,
            analytic=True,
            directions=self.directions,
            laws=self.laws,
            dtype=dtype,
            seed=seed,
        )


MakeTarget: TypeAlias = Callable[[np.random.Generator], Target]  # shapes and numbers are drawn from the generator
AnyModule = TypeVar("AnyModule", bound=Module)


def batch_and_time(rng: np.random.Generator) -> tuple[int, int]:
    """B of 2 or 3 and T of 2 to 5: enough to permute, to cut and to mask."""
    return int(rng.integers(2, 4)), int(rng.integers(2, CONTEXT_LENGTH + 1))


def anywhere(module: AnyModule, rng: np.random.Generator) -> AnyModule:
    """The module with each parameter moved: where biases are zero and norms one, bugs in their paths can hide."""
    for p in module.parameters():
        p.data = p.data + 0.4 * rng.standard_normal(p.shape)
    return module


def packed(rng: np.random.Generator, B: int, T: int) -> Array:
    """Booleans (B, T, T), True where query and key are in the same document; each row has its own documents."""
    document = np.cumsum(rng.random((B, T)) < 0.4, axis=1)  # (B, T)
    same: Array = document[:, :, None] == document[:, None]
    return same


def n_targets(values: Values) -> float:
    """How many targets the mean of a cross-entropy is over."""
    return float((values["targets"] != IGNORE_INDEX).sum())


def no_k_bias(name: str, axis: tuple[int, ...]) -> Law:
    """sum over `axis` of the middle third of d<name> = 0: the gradient of a bias of the keys.

    q @ (k + b) adds the same number to every score of a query, and softmax does not change by that.
    """
    return vanishes(
        f"K-bias gradient of {name} is zero",
        lambda gradients, _: np.split(gradients[name], 3, axis=-1)[1],
        axis,
        "a bias of the keys moves all scores of a query alike, so the gradient of the scores or that of K is wrong",
        about=(name,),
    )
