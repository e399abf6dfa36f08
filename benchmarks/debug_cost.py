"""What the debugger costs while it is off: a training step beside one of a copy of the sources without its hooks.

    python -m benchmarks.debug_cost [--backends numba numpy] [--threads 2] [--rounds 60] [--quick]

The task is that of the preset shakespeare-char (S of `make bench`). Two copies of the packages are written to a
temporary folder, and from one what serves the debugger alone is cut out: HOOKS. Each copy runs in a process of its own,
the whole one in two, to show what the same code differs from itself; they take turns, and the others are stopped.
Copies of the same sources differ by up to a percent, so what costs most, recording where an op was called, is measured
once more by itself: steps with and without it, in turns within one process.
Writes benchmarks/results/debug-cost.json unless --quick.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import our_step, save_weights
from benchmarks.rounds import Contestant, Measured, environment, measure
from benchmarks.tasks import TASKS, Task
from benchmarks.worker import Work

ROOT = Path(__file__).parents[1]
PACKAGES = ("autograd", "minillm")
RESULT = Path(__file__).parent / "results" / "debug-cost.json"
LIMIT = 0.02  # of a step
STEPS = 10  # in a round: few, so that what else the machine does meets all copies alike

TURNS = (True, False, False, True)  # whether a step records origins: what drifts meets both alike
ALTERNATING_STEPS = 800

# file -> what is cut out of it, and what stands there instead
HOOKS = {
    "autograd/tape.py": [("        self.origin = origin.here()\n", "")],
    "autograd/backward_pass.py": [
        ("    note = journal.get()\n    if note is not None:\n        note(leaf)\n", ""),
        ("        self.dy = upstream  # of the node that runs\n", ""),
        ("        self.outer, self.watch = running.get(), watcher.get()\n", ""),
        ("        if self.watch is not None:\n            self.watch.begin(self, output)\n", ""),
        ("        if self.watch is not None:\n            self.watch.look(self, node, dxs)\n", ""),
        (
            "        self.node, self.dy, self.written = node, self.grads.pop(node), []\n        return self.dy\n",
            "        self.node, self.written = node, []\n        return self.grads.pop(node)\n",
        ),
    ],
    "autograd/tensor.py": [
        (
            "        if modes.breakpoints.get():\n"
            "            for stop in self.backward_steps(dy, retain_graph=retain_graph).stops(history=False):\n"
            "                breakpoint()  # where a break_on stops: `stop` has the node, dy and dxs; `c` goes on\n"
            "                del stop  # not `step`, which is a command of pdb\n"
            "            return\n",
            "",
        ),
    ],
}


def write_copies(folder: Path) -> dict[str, Path]:
    """The folders of the sources with and without hooks.

    Raises:
        ValueError: a hook is not in its file exactly once.
    """
    copies = {name: folder / name for name in ("with", "without")}
    for copy in copies.values():
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, cuts in HOOKS.items():
        path = copies["without"] / file
        text = path.read_text("utf-8")
        for hook, instead in cuts:
            if text.count(hook) != 1:
                raise ValueError(f"{file} has this hook {text.count(hook)} times, and should once; mend HOOKS:\n{hook}")
            text = text.replace(hook, instead)
        path.write_text(text, "utf-8")
    return copies


def copied_step(sources: Path, backend: str, task: Task, threads: int, weights: Path) -> Work:
    """A training step of the packages in that folder."""
    assert not any(name in sys.modules for name in PACKAGES), "imported already, from another place"
    sys.path.insert(0, str(sources))
    work = our_step(backend, task, threads, weights)
    file = sys.modules["minillm"].__file__
    assert file is not None
    assert Path(file).is_relative_to(sources)
    return work


def alternating_step(backend: str, task: Task, threads: int, weights: Path) -> Work:
    """A training step that records origins or not, by TURNS."""
    work = our_step(backend, task, threads, weights)
    from autograd import origin

    here, turns = origin.here, itertools.cycle(TURNS)

    def step() -> Any:
        origin.here = here if next(turns) else lambda: None
        return work.unit()

    return Work(step, work.version, work.rss_before)


def origins_cost(backend: str, threads: int, steps: int) -> float:
    """The median step that records origins beside the median one that does not, as their ratio less one."""
    task = TASKS["S"]
    with tempfile.TemporaryDirectory() as temporary, environment(threads, Path(temporary)):
        save_weights(task, Path(temporary))
        contestant = Contestant(
            "alternating", functools.partial(alternating_step, backend), task, threads, Path(temporary)
        )
        try:
            contestant.run(5 * len(TURNS) - 1)  # it has done one to start
            seconds = contestant.run(steps).seconds
        finally:
            contestant.close()
    turns = list(itertools.islice(itertools.cycle(TURNS), len(seconds)))
    recording, not_recording = (
        [s for s, on in zip(seconds, turns, strict=True) if on is kept] for kept in (True, False)
    )
    return statistics.median(recording) / statistics.median(not_recording) - 1


def cost(measured: dict[str, Measured], name: str) -> dict[str, float]:
    """Seconds of a step beside those without hooks in the same round, as their ratio less one.

    Its quartiles, and the same of the fastest rounds, which tell more where other work disturbs most of them.
    """
    ratios = [a / b - 1 for a, b in zip(measured[name].seconds, measured["without"].seconds, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    fastest = min(measured[name].seconds) / min(measured["without"].seconds) - 1
    return {"median": median, "low": low, "high": high, "fastest": fastest}


def bench(backend: str, threads: int, rounds: int, alternating: int) -> dict[str, Any]:
    """Measure one backend, print its lines and return the report."""
    from benchmarks import machine  # not before: a process that runs a copy must not import ours

    task = TASKS["S"]
    before, measured = machine.load_average(), dict[str, Measured]()
    with tempfile.TemporaryDirectory() as temporary:
        copies = write_copies(Path(temporary).resolve())
        contestants = {
            name: (functools.partial(copied_step, copies[name.split()[0]], backend), STEPS)
            for name in ("with again", "without", "with")  # who starts first is 3 % slower, whatever it runs
        }
        measure(task, threads, contestants, rounds, cold=[], measured=measured, progress=lambda _: None)
    losses = {m.result for m in measured.values()}
    if len(losses) != 1:
        raise RuntimeError(f"the copies do not compute the same: losses {losses}")
    report = {
        "backend": backend,
        "version": measured["with"].version,
        "threads": threads,
        "rounds": rounds,
        "steps_per_round": STEPS,
        "load_average": {"before": before, "after": machine.load_average()},
        "ms": {name: [1e3 * s for s in m.seconds] for name, m in measured.items()},
        "cost": cost(measured, "with"),
        "cost_again": cost(measured, "with again"),
        "cost_of_origins": origins_cost(backend, threads, alternating),
    }
    print(f"{backend} ({report['version']}), {threads} threads, {rounds} rounds of {STEPS} steps; load {before} before")
    for name, m in measured.items():
        line = f"  {name:12}{1e3 * statistics.median(m.seconds):8.3f} ms/step"
        if name != "without":
            its = cost(measured, name)
            line += f"  {its['median']:+.2%}, half of the rounds {its['low']:+.2%} to {its['high']:+.2%}"
            line += f", fastest rounds {its['fastest']:+.2%}"
        print(line, flush=True)
    print(f"  origins alone {report['cost_of_origins']:+.2%}, {alternating} steps in turns in one process", flush=True)
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.debug_cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--backends", nargs="+", choices=["numba", "numpy"], default=["numba", "numpy"])
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--rounds", type=int, default=60, help="of each copy, taking turns, after one to warm up")
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing written: to see that all runs")
    args = parser.parse_args(arguments)
    if min(args.threads, args.rounds) < 1:
        parser.error("--threads and --rounds are whole numbers of at least 1")
    from benchmarks import machine

    facts = machine.facts()
    print(
        f"{TASKS['S'].describe()}\n{facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}"
    )
    rounds, alternating = (2, 8) if args.quick else (args.rounds, ALTERNATING_STEPS)
    reports = [bench(backend, args.threads, rounds, alternating) for backend in args.backends]
    if not args.quick:
        RESULT.write_text(json.dumps({**facts, "limit": LIMIT, "reports": reports}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
