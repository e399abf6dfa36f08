"""How many threads there are: in a block, by default, and whatever the environment says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from autograd import BackendError, use_backend
from autograd.backends import numba as numba_backend
from minillm import threads
from minillm.errors import UserError
from minillm.threads import blas_threads, limit_threads


def test_limits_hold_within_the_block() -> None:
    before = blas_threads()
    with limit_threads(1):
        assert blas_threads() == 1
    assert blas_threads() == before


def test_by_default_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit_threads(1), limit_threads():
        assert blas_threads() == 1  # fewer were set: they stay
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    with limit_threads():
        assert blas_threads() == 1


def test_more_threads_than_cores_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    with pytest.warns(RuntimeWarning, match="2 threads on 1 available cores"), limit_threads(2):
        pass


def test_no_threads_are_refused() -> None:
    with pytest.raises(UserError, match="threads is 0"):
        limit_threads(0)


# --- under numba: the kernels get the threads, and BLAS, which they call, one -----------------------------------------


@pytest.fixture
def on_numba() -> Iterator[None]:
    pytest.importorskip("numba")
    with use_backend("numba"):
        yield


@pytest.mark.usefixtures("on_numba")
def test_a_block_gives_kernels_their_threads_and_blas_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_backend, "pool_size", lambda: 4)
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.setattr(numba_backend, "_threads", 1)
    monkeypatch.setattr("numba.set_num_threads", lambda _: None)
    with limit_threads(2):
        assert (numba_backend.threads(), blas_threads()) == (2, 1)
    assert numba_backend.threads() == 1


def test_blas_is_on_one_thread_from_the_first_kernel_until_another_backend_is_switched_on() -> None:
    pytest.importorskip("numba")
    with threadpool_limits(2, "blas"):
        with use_backend("numba"):
            assert blas_threads() == 2
            numba_backend.threads()
            assert blas_threads() == 1
            with use_backend("numba"):
                pass
            assert blas_threads() == 1
            with use_backend("numpy"):
                assert blas_threads() == 2
            numba_backend.threads()
            assert blas_threads() == 1
        assert blas_threads() == 2


DEFAULTS = """
import json
from autograd import use_backend
from autograd.backends import numba
from minillm.threads import blas_threads
numba.available_cores = lambda: 3
with use_backend("numba"):
    n = numba.threads()
    print(json.dumps([n, blas_threads(), numba.describe()[-9:]]))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NUMBA_NUM_THREADS": "8"}, 3),  # the cores
        ({"NUMBA_NUM_THREADS": "2"}, 2),
        ({"NUMBA_NUM_THREADS": "8", "OMP_NUM_THREADS": "2,1"}, 2),
        ({"NUMBA_NUM_THREADS": "8", "OMP_NUM_THREADS": "8"}, 3),
        ({"NUMBA_NUM_THREADS": "8", "OMP_NUM_THREADS": ""}, 3),
        ({"NUMBA_NUM_THREADS": "8", "OPENBLAS_NUM_THREADS": "1"}, 3),  # of BLAS, which kernels call on one
        ({"NUMBA_NUM_THREADS": "8", "OPENBLAS_NUM_THREADS": "4"}, 3),
    ],
)
def test_one_pool_of_as_many_threads_as_cores_whatever_the_environment(
    variables: dict[str, str], expected: int
) -> None:
    pytest.importorskip("numba")
    ours = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", DEFAULTS], env={**ours, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n, blas, described = json.loads(done.stdout)
    assert (n, blas, described) == (expected, 1, f"{expected} threads")


@pytest.mark.usefixtures("on_numba")
def test_more_threads_than_numba_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 64)
    monkeypatch.setattr(numba_backend, "pool_size", lambda: 1)
    with pytest.raises(BackendError, match="threads is 3, and the backend 'numba' has 1"):
        limit_threads(3)
