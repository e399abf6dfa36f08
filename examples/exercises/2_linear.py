"""Exercise 2: the linear layer, most of a GPT's work. Write `linear_backward`.

y = x @ weight^T + bias          so y[n, o] = sum_i x[n, i] * weight[o, i] + bias[o]
"""

from autograd.gradcheck.laws import batch_permutation, micro_batches


def linear_forward(x, weight, bias):
    """x (N, in), weight (out, in), bias (out,) -> y (N, out), and what the backward is handed."""
    return x @ weight.T + bias, (x, weight)


def linear_backward(dy, x, weight):
    """dy (N, out) -> dx (N, in), dweight (out, in), dbias (out,).

    Hints:
      - from the formula with indices: dx[n, i] = sum_o dy[n, o] * weight[o, i]. That is a matrix product: of what?
      - dweight[o, i] = sum over n of which two? Write the product whose shape is (out, in).
      - if shapes fit, it is most often right. Most often: with in = out it also fits transposed.
    """
    raise NotImplementedError("write me")


def inputs(rng):
    """What it is checked on: the arrays in the forward's order, and its keyword arguments."""
    return [rng.standard_normal((5, 4)), rng.standard_normal((3, 4)), rng.standard_normal(3)], {}


# rows in another order give the same gradients in that order, and two halves of a batch add up to the whole
LAWS = [batch_permutation("x"), micro_batches("x")]
