"""A layer of your own, RMSNorm, with its gradient by hand, and the one call that checks it.

`python examples/check_your_own_layer.py`. Zhang & Sennrich 2019, arXiv:1910.07467:

  rrms = 1/sqrt(E[x^2] + eps)      y = x * rrms * weight
  dx = rrms * (dy*weight - x * rrms^2 * E[dy*weight*x])      dweight = sum_rows dy * x * rrms
"""

import numpy as np

from autograd import Op
from autograd.gradcheck import GradcheckError, gradcheck
from minillm.module import Module, Parameter


def rmsnorm_forward(x, weight, *, eps=1e-6):
    """x (..., C), weight (C,) -> y (..., C), and what the backward needs."""
    rrms = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)  # (..., 1)
    return x * rrms * weight, (x, rrms, weight)


def rmsnorm_backward(dy, x, rrms, weight):
    """One gradient for each array of the forward, in its order."""
    dweight = (dy * x * rrms).sum(tuple(range(x.ndim - 1)))  # (C,)
    dxhat = dy * weight  # (..., C)
    dx = rrms * (dxhat - x * rrms**2 * (dxhat * x).mean(-1, keepdims=True))  # (..., C)
    return dx, dweight


rmsnorm = Op(rmsnorm_forward, rmsnorm_backward)  # from here on it takes Tensors and is on the tape


@rmsnorm.composition
def rmsnorm_composed(x, weight, *, eps=1e-6):
    """The formula once more, in primitives: a third opinion on the gradient. It may be left out."""
    return x / ((x**2).mean(-1, keepdims=True) + eps).sqrt() * weight


class RMSNorm(Module):
    def __init__(self, d_model):
        self.weight = Parameter(np.ones(d_model), "vector")

    def __call__(self, x):
        return rmsnorm(x, self.weight)


def forgetful_backward(dy, x, rrms, weight):
    """A bug: the sum for dweight stops short of axis 1."""
    dx, _ = rmsnorm_backward(dy, x, rrms, weight)
    return dx, (dy * x * rrms).sum(0)


def main():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 4)), rng.standard_normal(4)
    print(gradcheck(rmsnorm, [x, weight]))  # the op
    print(gradcheck(RMSNorm(4), [x]))  # the module, with its parameter
    try:
        gradcheck((rmsnorm_forward, forgetful_backward), [x, weight])
    except GradcheckError as error:
        print(f"\nWith a bug planted:\n\n{error}")


if __name__ == "__main__":
    main()
