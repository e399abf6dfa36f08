"""Random numbers that repeat: every evaluation of a function under check draws the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from autograd import modes
from autograd.random import Stream


@contextmanager
def frozen_randomness(seed: int) -> Iterator[None]:
    """Seed the engine's stream, NumPy's global generator and Python's; the stream is put back at the end."""
    np.random.seed(seed)  # noqa: NPY002  # a user's layer may draw from it
    random.seed(seed)
    with modes.use_stream(Stream(seed)):
        yield


@contextmanager
def randomness_put_back() -> Iterator[None]:
    """Leave NumPy's global generator and Python's as they were: once for a whole check, since it takes a while."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002  # as above
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002  # as above
        random.setstate(python_state)
