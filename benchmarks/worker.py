"""The process that one contestant runs in, seen from inside."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.tasks import Task


@dataclass(frozen=True)
class Work:
    """What a contestant prepared.

    Args:
        unit: does one unit of the task; gives what shows that it is the same work: the loss, or the tokens.
        version: of the library that does it.
        rss_before: resident MB with all libraries imported and no model made.
    """

    unit: Callable[[], Any]
    version: str
    rss_before: float


@dataclass(frozen=True)
class Reply:
    """Seconds of each unit, what the last one gave, and the process's peak of resident memory so far, in MB."""

    seconds: list[float]
    result: Any
    peak_mb: float


Prepare = Callable[[Task, int, Path], Work]  # task, threads, folder of the weights


def resident_mb(field: str = "VmRSS") -> float:
    """Resident memory of this process, or with "VmHWM" the most it has had.

    Not from getrusage where it can be helped: on Linux a new process starts with its parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[field].removesuffix("kB")) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def serve(connection: Connection, prepare: Prepare, task: Task, threads: int, weights: Path) -> None:
    """Send the Work's version and memory, then answer each number n with the Reply of n units, until 0 comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started this ends it
    work = prepare(task, threads, weights)
    connection.send((work.version, work.rss_before))
    while n := connection.recv():
        seconds, result = [], None
        for _ in range(n):
            start = time.perf_counter()
            result = work.unit()
            seconds.append(time.perf_counter() - start)
        connection.send(Reply(seconds, result, resident_mb("VmHWM")))
