"""minillm beside PyTorch and Hugging Face transformers on this machine's CPU, in float32: `make bench`.

Each contestant has a process of its own. They take turns in rounds, all but the one at work stopped, from the same
weights on the same batch, and must come to the same losses and tokens.

    python -m benchmarks [--configs S M L long decode-M decode-L] [--threads 1 2] [--rounds 5] [--peers numpy torch]
                         [--quick]

Prints a table for each configuration and number of threads, and writes benchmarks/results/cpu-<config>-<threads>.json.
--quick takes two rounds and no cold start, and writes nothing: to see that all runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autograd.backends import BACKENDS
from benchmarks import machine
from benchmarks.agree import disagreement
from benchmarks.gemms import numpy_gemms, torch_gemms
from benchmarks.peers import OPTIONAL, available
from benchmarks.rounds import Measured, measure
from benchmarks.table import FLOOR, lines, summary
from benchmarks.tasks import TASKS, Task
from benchmarks.worker import Prepare

RESULTS = Path(__file__).parent / "results"


def contestants(task: Task, wanted: list[str] | None) -> tuple[dict[str, tuple[Prepare, int]], list[str]]:
    """How each prepares and its units in a round, and a line about each that cannot run here.

    Args:
        wanted: names; None takes all.
    """
    found, missing = available(task.kind)
    chosen = {name: (prepare, task.units) for name, prepare in found.items() if wanted is None or name in wanted}
    if not chosen:
        return {}, [*missing, f"none of {', '.join(wanted or [])} can be measured at {task.name}"]
    if task.kind == "train":
        chosen[f"{FLOOR}numpy"] = (numpy_gemms, 1)
        if "torch" in found:
            chosen[f"{FLOOR}torch"] = (torch_gemms, 1)
    return chosen, missing


def bench(
    task: Task, threads: int, chosen: dict[str, tuple[Prepare, int]], args: argparse.Namespace
) -> tuple[dict[str, Any], str | None]:
    """Measure one task and print its table, also when it is interrupted. Returns the report and what went wrong."""
    cold = [] if args.quick else [name for name in chosen if not name.startswith(FLOOR)]
    n_steps = 1 + len(chosen) * (args.rounds + 2) + len(cold)
    measured: dict[str, Measured] = {}
    before = machine.load_average()
    with tqdm(total=n_steps, desc=f"{task.name}, {threads} threads", leave=False, disable=None) as bar:

        def progress(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        try:
            measure(task, threads, chosen, args.rounds, cold=cold, measured=measured, progress=progress)
            wrong = disagreement(task, measured)
        except KeyboardInterrupt:
            wrong = "interrupted"
        except RuntimeError as error:
            wrong = str(error)
    after = machine.load_average()
    done = min((len(m.seconds) for m in measured.values()), default=0)
    print(f"{task.describe()}; {threads} thread{'s' if threads > 1 else ''}")
    print(f"medians of {done} rounds of {task.units}; load average {before} before, {after} after\n")
    print(*lines(task, measured), "", sep="\n", flush=True)
    report = {
        "task": task.name,
        "shape": task.shape,
        "size": task.size,
        "threads": threads,
        "rounds": done,
        "units_per_round": task.units,
        "load_average": {"before": before, "after": after},
        **machine.facts(),
        **summary(task, measured),
    }
    return report, wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--configs", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME", help=", ".join(TASKS)
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[2], help="one table for each (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of each contestant, taking turns, after one to warm up")
    peers = [*(name for name in BACKENDS if name != "cupy"), *OPTIONAL]
    parser.add_argument(
        "--peers", nargs="+", choices=peers, metavar="NAME", help=f"of {', '.join(peers)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds, no cold start, nothing written")
    args = parser.parse_args(arguments)
    if min(args.threads) < 1 or args.rounds < 1:
        parser.error("--threads and --rounds are whole numbers of at least 1")
    if args.quick:
        args.rounds = 2
    facts = machine.facts()
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}\n")
    for name in args.configs:
        chosen, missing = contestants(TASKS[name], args.peers)
        for line in missing:
            print(line)
        for threads in args.threads if chosen else []:
            report, wrong = bench(TASKS[name], threads, chosen, args)
            if wrong:
                print(f"{name}, {threads} threads: {wrong}", file=sys.stderr)
                return 1
            if not args.quick:
                RESULTS.mkdir(exist_ok=True)
                (RESULTS / f"cpu-{name}-{threads}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
