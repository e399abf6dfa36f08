"""Plant one mutant at a time in a forked copy of this process, and run tests there until one fails.

Tests are collected once, by pytest in this process; a child only runs them. So a mutant costs a fork and the tests up
to the first that fails, and none is ever planted here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from autograd.gradcheck.mutants import Mutant
from minillm.errors import UserError
from minillm.threads import limit_threads

if TYPE_CHECKING:
    import pytest


HANGS = 3600  # seconds: tests that have not ended by then, without a mutant, never will


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the first test that failed, or how its process ended, or None if nothing noticed."""

    mutant: Mutant
    killed_by: str | None


def plant_and_test(
    mutants: Sequence[Mutant],
    tests: Sequence[Path],
    *,
    config: Path,
    ignore: Sequence[Path] = (),
    workers: int = 2,
    time_limit: float | None = None,
    narrow: Collection[str] = (),
) -> list[Outcome]:
    """Run `tests` on each mutant, first those whose name holds that of the mutated function or of its module.

    Args:
        tests, ignore: files or folders of tests, and those among them to leave out.
        config: the pyproject.toml that configures pytest.
        workers: mutants tested at the same time.
        time_limit: seconds for one mutant; left out, three times what all tests take and 10 more.
        narrow: names of mutants for which those first tests are all that is run, if there are any.

    Raises:
        UserError: workers below 1, a system without fork, pytest or Hypothesis is missing, the tests cannot be
            collected, or one fails without a mutant.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}: give a whole number of 1 or more")
    if not hasattr(os, "fork"):
        raise UserError("mutants are planted in forked processes, which this system does not have: use Linux or macOS")
    for package in ("pytest", "hypothesis"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"mutants need {package}, which is not installed: pip install 'minillm[test]'")
    import pytest

    output = io.StringIO()
    with tempfile.TemporaryDirectory() as scratch, limit_threads(1), contextlib.redirect_stdout(output):
        planter = _Planter(mutants, workers, time_limit, narrow, scratch)
        options = ["-q", "--capture=sys", "-pno:cacheprovider", "--hypothesis-seed=0", f"-c{config}"]
        # it would rewrite the asserts of a distribution that has a plugin for it, as ours does, but that is imported
        options += ["-Wignore::pytest.PytestAssertRewriteWarning"]
        files = [*map(str, tests), *(f"--ignore={path}" for path in ignore)]
        code = pytest.main([*files, f"--rootdir={config.parent}", *options], plugins=[planter])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if planter.broken is not None:
        raise UserError(f"without any mutant, {planter.broken}: mend that first")
    if code != pytest.ExitCode.OK:
        raise UserError(f"pytest cannot run the tests, mend that first: {output.getvalue().strip()}")
    return planter.outcomes


@dataclass
class _Child:
    """A forked process that tests one mutant, or, with none, measures the tests."""

    mutant: Mutant | None
    process: Any
    results: Connection  # gives the first test that failed and the seconds of each
    deadline: float


class _Planter:
    """A pytest plugin: the loop over tests becomes a loop over mutants."""

    def __init__(
        self,
        mutants: Sequence[Mutant],
        workers: int,
        time_limit: float | None,
        narrow: Collection[str],
        scratch: str,
    ) -> None:
        self.mutants, self.workers, self.time_limit, self.narrow = mutants, workers, time_limit, narrow
        self.scratch, self.terminal = scratch, sys.stderr  # as it is before pytest captures it
        self.outcomes: list[Outcome] = []
        self.broken: str | None = None  # what is wrong before anything is planted
        self.seconds: dict[str, float] = {}  # of each test
        self.kills: dict[str, Counter[str]] = {}  # of each function: the tests that noticed a mutant of it
        self.children: list[_Child] = []

    def pytest_collection(self) -> None:
        """Hypothesis as the project's profile has it, but one failing example is enough, and slowness is no failure."""
        from hypothesis import HealthCheck, Phase, configuration, settings  # not earlier: pytest prepares its import

        configuration.set_hypothesis_home_dir(self.scratch)
        settings.register_profile(
            "mutants",
            parent=settings(),
            database=None,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        )
        settings.load_profile("mutants")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = f"{report.nodeid} cannot be collected"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not session.items:
            self.broken = self.broken or "there is no test"
        if self.broken is not None:
            return True
        for mutant in self.mutants:
            with mutant.planted():  # an error of planting is ours, not a mutant noticed
                pass
        try:
            self._start(None, session.items, HANGS)
            _, failed, self.seconds = self._next()
            if failed is not None:
                self.broken = f"the tests fail ({failed})"
                return True
            limit = self.time_limit or 3 * sum(self.seconds.values()) + 10
            self._test_all(session.items, limit)
        finally:
            for child in self.children:
                _kill(child)
        return True

    def _test_all(self, items: Sequence[pytest.Item], limit: float) -> None:
        waiting = iter(self.mutants)
        outcomes: dict[str, Outcome] = {}
        with tqdm(total=len(self.mutants), unit="mutant", disable=None, file=self.terminal) as progress:
            while len(outcomes) < len(self.mutants):
                while len(self.children) < self.workers and (mutant := next(waiting, None)) is not None:
                    self._start(mutant, self._relevant(items, mutant), limit)
                mutant, failed, _ = self._next()
                assert mutant is not None
                outcomes[mutant.name] = Outcome(mutant, failed)
                if failed is not None:
                    self.kills.setdefault(_label(mutant), Counter())[failed] += 1
                progress.update()
        self.outcomes = [outcomes[mutant.name] for mutant in self.mutants]

    def _relevant(self, items: Sequence[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
        """The tests in the order in which they are likely to notice: those of its own name come first."""
        names = "|".join(map(re.escape, (_label(mutant), mutant.original.__module__.rpartition(".")[2])))
        named = {item.nodeid for item in items if re.search(rf"(?<![a-z0-9])({names})(?![a-z0-9])", item.nodeid)}
        if mutant.name in self.narrow and named:
            items = [item for item in items if item.nodeid in named]
        kills = self.kills.get(_label(mutant), Counter[str]())
        return sorted(
            items, key=lambda item: (item.nodeid not in named, -kills[item.nodeid], self.seconds[item.nodeid])
        )

    def _start(self, mutant: Mutant | None, items: Sequence[pytest.Item], limit: float) -> None:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_run, args=(mutant, items, sender, self.scratch))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # BLAS stops its threads before a fork by itself
            process.start()
        sender.close()
        self.children.append(_Child(mutant, process, receiver, time.monotonic() + limit))

    def _next(self) -> tuple[Mutant | None, str | None, dict[str, float]]:
        """Wait for a child: its mutant, what failed, and the seconds of each test."""
        while True:
            for child in self.children:
                result: tuple[str | None, dict[str, float]]
                if child.results.poll():
                    try:
                        result = child.results.recv()
                    except EOFError:
                        result = "its process died", {}
                elif time.monotonic() > child.deadline:
                    result = "no end within the time limit", {}
                else:
                    continue
                self.children.remove(child)
                _kill(child)
                return child.mutant, *result
            nearest = min(child.deadline for child in self.children)
            wait([child.results for child in self.children], max(0, nearest - time.monotonic()))


def _label(mutant: Mutant) -> str:
    """The name of the op that a mutant's function belongs to."""
    return mutant.name.split(":")[0].removesuffix("_forward")


def _kill(child: _Child) -> None:
    """End a child and whatever its tests have started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.kill()  # in case it had no time to become a group
    child.process.join()
    child.results.close()


def _run(mutant: Mutant | None, items: Sequence[pytest.Item], sender: Connection, scratch: str) -> None:
    """In the child: run the tests until one fails, and send which."""
    os.setsid()
    with Path(os.devnull).open("w") as null:
        for stream in (1, 2):
            os.dup2(null.fileno(), stream)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(dir=scratch)
    watch = _Watch()
    items[0].config.pluginmanager.register(watch)
    with mutant.planted() if mutant is not None else contextlib.nullcontext():
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if watch.failed is not None:
                break
    sender.send((watch.failed, watch.seconds))


class _Watch:
    """A pytest plugin that keeps the first failure, and how long each test took."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid
