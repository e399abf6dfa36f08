"""`minillm check`: whether the gradients of every layer are right, and the laws of each hold."""

from __future__ import annotations

import argparse
import difflib
from typing import TYPE_CHECKING

from minillm import UserError

if TYPE_CHECKING:
    from minillm.check.summary import Summary

COLUMNS = "{:21} {:>6} {:>8} {:>8} {:>8} {:>6} {:>5} {:>5} {:>5}"  # fits a terminal of 80


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="check the gradients of every layer",
        description="Compare the gradients of each layer with central differences, a complex step and a composition of "
        "primitives, and check the laws they must obey. The columns: gradients that are right; the largest "
        "difference from each of the three, relative to the largest gradient; that difference as a share of what "
        "rounding explains; points skipped for having no derivative; laws that hold; seconds. Exit code 1 on failure.",
    )
    parser.add_argument("--layer", nargs="+", action="extend", metavar="NAME", help="layers to check (all)")
    parser.add_argument(
        "--exercise",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="instead, grade these exercises, or those in a folder: examples/exercises",
    )
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the gradients (float64)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of shapes, numbers and masks (0)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="check with N seeds, from S on (1)")
    parser.add_argument("--mutants", action="store_true", help="instead, plant bugs and see that the tests find them")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes for --mutants (2)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for option in ("seeds", "workers"):
        if getattr(args, option) < 1:
            raise UserError(f"{option} is {getattr(args, option)}: give a whole number of at least 1")
    if args.seed < 0:
        raise UserError(f"seed is {args.seed}: give a whole number of at least 0")
    if args.exercise and (args.layer or args.mutants):
        raise UserError(f"--exercise grades files: leave out {'--layer' if args.layer else '--mutants'}")
    seeds = range(args.seed, args.seed + args.seeds)
    if args.exercise:
        return grade_exercises(args.exercise, args.dtype, seeds)
    if args.mutants:
        if args.layer:
            raise UserError("--mutants runs over the whole project: leave out --layer")
        from minillm.check.mutation import run_mutants

        return 0 if run_mutants(args.workers) else 1
    return check_layers(_layers(args.layer), args.dtype, seeds)


def _layers(names: list[str] | None) -> list[str]:
    """The layers asked for, each once; all if none is."""
    from minillm.check.layers import LAYERS

    for name in names or ():
        if name not in LAYERS:
            near = difflib.get_close_matches(name, LAYERS, n=3, cutoff=0.4)
            raise UserError(f"unknown layer {name!r}: choose from {', '.join(near or LAYERS)}")
    return list(dict.fromkeys(names or LAYERS))


def check_layers(names: list[str], dtype: str, seeds: range) -> int:
    """Print a row for each layer as soon as it is checked, then what is wrong; returns the exit code."""
    from autograd.gradcheck.report import ORACLES
    from minillm.check.summary import summarise
    from minillm.threads import limit_threads

    print(COLUMNS.format("layer", "right", "differ.", "complex", "compos.", "bound", "kinks", "laws", "sec"))
    summaries = []
    with limit_threads(1):  # the arrays are tiny
        for name in names:
            s = summarise(name, dtype, seeds)
            errors = [f"{s.errors[oracle]:.1e}" if oracle in s.errors else "-" for oracle in ORACLES]
            right, kept = _share(s.gradients), _share(s.laws)
            print(
                COLUMNS.format(name, right, *errors, _percent(s.of_bound), s.kinks, kept, f"{s.seconds:.1f}"),
                flush=True,
            )
            summaries.append(s)
    for s in summaries:
        if s.failures:
            print(f"\n{s.failures[0]}")  # the other seeds' say the same with other numbers
    print(f"\n{_totals(summaries)}")
    return int(any(s.failures for s in summaries))


def grade_exercises(files: list[str], dtype: str, seeds: range) -> int:
    """Print a row for each exercise, then what is wrong, and how many are done; returns the exit code."""
    from minillm.check.exercise import RIGHT, find_exercises, grade
    from minillm.threads import limit_threads

    grades = []
    exercises = find_exercises(files)
    width = max(len(exercise.path.stem) for exercise in exercises)
    with limit_threads(1):  # the arrays are tiny
        for exercise in exercises:
            g = grade(exercise, dtype, seeds)
            print(f"{g.name:{width}}  {g.state}{f': {g.note}' if g.note else ''}", flush=True)
            grades.append(g)
    for g in grades:
        if g.text:
            print(f"\n{g.name}: {g.text}")
    done = sum(g.state == RIGHT for g in grades)
    print(f"\n{done} of {len(grades)} done")
    return int(done < len(grades))


def _totals(summaries: list[Summary]) -> str:
    failed = [s.layer for s in summaries if s.failures]
    n, gradients, laws = len(summaries), sum(len(s.gradients) for s in summaries), sum(len(s.laws) for s in summaries)
    first = f"{len(failed)} of {n} layers failed: {', '.join(failed)}" if failed else f"All {n} layers passed"
    worst, seconds = max(s.of_bound for s in summaries), sum(s.seconds for s in summaries)
    return (
        f"{first}. {gradients} gradients, {laws} laws, {seconds:.1f} s.\n"
        f"The largest difference is {_percent(worst)} of what rounding explains."
    )


def _share(passed: dict[str, bool]) -> str:
    """How many of all passed, such as "3/4"; "-" where there are none, since a wrong gradient stops before the laws."""
    return f"{sum(passed.values())}/{len(passed)}" if passed else "-"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 10 else ">10x"
