"""A small reverse-mode engine: every operation is a forward function and a hand-written backward beside it."""

from autograd import debug, operators, ops
from autograd.backends import BackendError, use_backend
from autograd.checkpoint import checkpoint
from autograd.modes import compose, enable_grad, no_grad, observe, use_stream
from autograd.op import Op
from autograd.random import Stream
from autograd.tape import AutogradError, GradientError, GraphFreedError, Node
from autograd.tensor import Tensor

DISTRIBUTION = "minillm"  # minillm looks for this, since another package on PyPI is called autograd too

__all__ = [
    "AutogradError",
    "BackendError",
    "GradientError",
    "GraphFreedError",
    "Node",
    "Op",
    "Stream",
    "Tensor",
    "checkpoint",
    "compose",
    "debug",
    "enable_grad",
    "no_grad",
    "observe",
    "operators",
    "ops",
    "use_backend",
    "use_stream",
]
