"""Checks that every test gets: no mode may leak from one test into the next. BLAS runs on one thread."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported; the examples' processes inherit it

from collections.abc import Iterator

import pytest
import standin

from autograd import Op, modes
from autograd.backward_pass import watcher
from autograd.gradcheck.strategies import register_profiles

register_profiles()


@pytest.fixture(autouse=True)
def modes_do_not_leak() -> Iterator[None]:
    """Fail a test that leaves a mode other than it found it."""
    watched = (modes.recording, modes.backend_name, modes.observers, modes.composed, modes.breakpoints, watcher)
    before = [mode.get() for mode in watched]
    yield
    assert [mode.get() for mode in watched] == before


@pytest.fixture
def strict_cupy() -> Iterator[type[standin.Waits]]:
    """The backend "cupy" on the strict stand-in; gives the counter of waits for the device."""
    with standin.installed() as waits:
        yield waits


@pytest.fixture
def own_ops_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ops that a test makes are not in the registry after it."""
    monkeypatch.setattr(Op, "registry", dict(Op.registry))
