"""Processes that take turns: one contestant in each, stopped while another is measured.

A library's threads may spin for a while after their work is done, and would take the cores from whoever comes next.
A stopped process (SIGSTOP) cannot; where there is no such signal, as on Windows, they are left to wait.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import save_weights
from benchmarks.tasks import Task
from benchmarks.worker import Prepare, Reply, serve

_CONTEXT = multiprocessing.get_context("spawn")  # a fork would inherit the memory and the threads of this process
_CAN_STOP = hasattr(signal, "SIGSTOP")
GRACE_SECONDS = 5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Contestant:
    """A process that has prepared its work and waits, stopped, for its turn.

    Attributes:
        version: of its library.
        rss_before: MB resident before there was a model.
        first: seconds from the start of the process to the end of its first unit.

    Raises:
        RuntimeError: the process ended; its own message is on stderr.
    """

    def __init__(self, name: str, prepare: Prepare, task: Task, threads: int, weights: Path) -> None:
        self.name = name
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=serve, args=(theirs, prepare, task, threads, weights), daemon=True)
        start = time.perf_counter()
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe, not a wait for ever
        try:
            self.version, self.rss_before = self._receive()
            self._ask(1)
        except BaseException:
            self.close()
            raise
        self.first = time.perf_counter() - start
        self._signal("SIGSTOP")

    def run(self, n: int) -> Reply:
        """n units of work, while nobody else works."""
        self._signal("SIGCONT")
        reply = self._ask(n)
        self._signal("SIGSTOP")
        return reply

    def close(self) -> None:
        """End the process: at its own pace at first, since it may have helpers of its own to end."""
        self._signal("SIGCONT")
        with suppress(OSError):  # it has ended
            self._pipe.send(0)
        self._process.join(GRACE_SECONDS)
        self._process.kill()
        self._process.join()

    def _ask(self, n: int) -> Reply:
        self._pipe.send(n)
        reply: Reply = self._receive()
        return reply

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name} ended before it answered: see its message above") from None

    def _signal(self, name: str) -> None:
        if _CAN_STOP and self._process.is_alive():
            assert self._process.pid is not None
            os.kill(self._process.pid, getattr(signal, name))


@contextmanager
def environment(threads: int, cache: Path) -> Iterator[None]:
    """What processes started inside inherit: the number of threads, and a folder for compiled kernels."""
    folders = {name: str(cache / name) for name in ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    changed = {**dict.fromkeys(THREAD_VARIABLES, str(threads)), **folders}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@dataclass
class Measured:
    """What was seen of one contestant.

    Attributes:
        cold, warm: seconds from the start of its process to the end of its first unit, without and with compiled
            kernels from an earlier process; None where it was not measured.
        seconds: the median unit of each round.
        warm_result: what the last unit of the warm-up gave.
        result: what the last unit gave.
        rss_before: MB resident before there was a model; peak_mb: the most since the process began.
    """

    version: str = ""
    cold: float | None = None
    warm: float | None = None
    rss_before: float = 0.0
    peak_mb: float = 0.0
    seconds: list[float] = field(default_factory=list)
    warm_result: Any = None
    result: Any = None


def measure(
    task: Task,
    threads: int,
    contestants: dict[str, tuple[Prepare, int]],
    rounds: int,
    *,
    cold: Container[str],
    measured: dict[str, Measured],
    progress: Callable[[str], None],
) -> None:
    """Fill `measured`, also as far as it came when it is interrupted.

    Args:
        contestants: how each prepares, and its units in a round.
        rounds: after one that warms up.
        cold: who is started once more, before, to see what its start takes without compiled kernels on disk.
        progress: is told what is done next.

    Raises:
        RuntimeError: a contestant's process ended.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        progress("weights")
        save_weights(task, folder)
        stack.enter_context(environment(threads, folder))
        waiting: dict[str, Contestant] = {}
        for name, (prepare, _) in contestants.items():
            measured[name] = Measured()
            if name in cold:
                progress(f"cold start of {name}")
                first = Contestant(name, prepare, task, threads, folder)
                measured[name].cold = first.first
                first.close()
            progress(f"start of {name}")
            contestant = Contestant(name, prepare, task, threads, folder)
            stack.callback(contestant.close)
            waiting[name] = contestant
            measured[name].version, measured[name].rss_before = contestant.version, contestant.rss_before
            measured[name].warm = contestant.first if name in cold else None
        for i in range(rounds + 1):
            for name in rotated(list(waiting), i):  # so that no one always follows the same neighbour
                progress("warm-up" if i == 0 else f"round {i} of {rounds}")
                reply = waiting[name].run(contestants[name][1])
                seen = measured[name]
                seen.peak_mb, seen.result = reply.peak_mb, reply.result
                if i == 0:
                    seen.warm_result = reply.result
                else:
                    seen.seconds.append(statistics.median(reply.seconds))


def rotated(names: list[str], n: int) -> list[str]:
    """`names` from the n-th on, then those before it."""
    n %= len(names)
    return names[n:] + names[:n]
