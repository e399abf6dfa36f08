"""A large language model from scratch in NumPy, every backward pass written by hand."""

import autograd

if getattr(autograd, "DISTRIBUTION", None) != "minillm":
    raise ImportError(
        f"minillm needs its own package 'autograd', but Python found another one of that name, at {autograd.__file__} "
        "(HIPS/autograd is the one on PyPI): uninstall that, or install minillm in an environment without it"
    )

from autograd import origin
from minillm.config import GPTConfig
from minillm.errors import UserError
from minillm.model import GPT

origin.add_library(__path__[0])

__all__ = ["GPT", "GPTConfig", "UserError"]
__version__ = "0.1.0"
