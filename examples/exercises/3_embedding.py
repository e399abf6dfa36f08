"""Exercise 3: the embedding, a row of a table for each id. Write `embedding_backward`.

y[n] = weight[ids[n]]
"""

import numpy as np

from autograd.gradcheck.laws import batch_permutation, micro_batches


def embedding_forward(ids, weight):
    """ids (N,) of integers in [0, V), weight (V, C) -> y (N, C), and what the backward is handed."""
    return weight[ids], (ids, weight)


def embedding_backward(dy, ids, weight):
    """dy (N, C) -> None, since integers have no gradient, and dweight (V, C).

    Hints:
      - a row that no id asked for had no say in y: its gradient is zero.
      - a row that was asked for twice gets both gradients. `dweight[ids] += dy` adds only one of them: NumPy reads all
        the rows before it writes any. Look up np.add.at.
      - start from np.zeros_like(weight), which has the right dtype too.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    ids = np.array([1, 3, 1, 0, 1, 3])  # some are there more than once, 2 and 4 not at all
    return [ids, rng.standard_normal((5, 4))], {}


LAWS = [batch_permutation("ids"), micro_batches("ids")]  # which token comes first makes no difference to the table
