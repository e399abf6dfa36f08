"""The mutation score: how many planted gradient bugs the project's ordinary tests notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from autograd.gradcheck.mutants import Mutant
from minillm.check.catalogue import EQUIVALENT, project_mutants
from minillm.check.planting import Outcome, plant_and_test
from minillm.errors import UserError

ROOT = Path(__file__).parents[2]

TESTS = ("autograd", "minillm/layers", "minillm/test_model.py", "minillm/train")
# a kill by a test of mutants would prove nothing, and the tests of the plugin start pytest anew
NOT_THESE = ("autograd/gradcheck/test_mutants.py", "autograd/gradcheck/test_plugin.py")


def run_mutants(workers: int = 2) -> bool:
    """Plant every mutant of the project, one at a time, run the ordinary tests on each, and print a table.

    Returns:
        Whether every mutant was noticed, or has a proof that it computes the same.

    Raises:
        UserError: no tests here, no pytest, a test that fails without a mutant, or a proof of a mutant that is gone.
    """
    folder = ROOT / "tests"
    if not folder.is_dir():
        raise UserError(f"there are no tests in {folder}: mutants can be run in a clone of the repository only")
    mutants = list(project_mutants())
    unknown = set(EQUIVALENT) - {mutant.name for mutant in mutants}
    if unknown:
        raise UserError(f"EQUIVALENT has proofs of mutants that do not exist, take them out: {'; '.join(unknown)}")
    outcomes = plant_and_test(
        mutants,
        [folder / name for name in TESTS],
        ignore=[folder / name for name in NOT_THESE],
        config=ROOT / "pyproject.toml",
        workers=workers,
        narrow=EQUIVALENT,
    )
    for line in report(outcomes, EQUIVALENT):
        print(line)
    return not any(is_wrong(outcome, EQUIVALENT) for outcome in outcomes)


def is_wrong(outcome: Outcome, proofs: Mapping[str, str]) -> bool:
    """Whether a mutant survived without a proof, or was noticed in spite of one."""
    return (outcome.killed_by is None) != (outcome.mutant.name in proofs)


def report(outcomes: Sequence[Outcome], proofs: Mapping[str, str]) -> Iterator[str]:
    """Tables by kind and by function, then the mutants that compute the same, then what is wrong: line by line."""
    yield from _table("kind", lambda mutant: mutant.kind, outcomes, proofs)
    yield ""
    yield from _table("function", lambda mutant: mutant.name.split(":")[0], outcomes, proofs)
    for outcome in outcomes:
        mutant = outcome.mutant
        if is_wrong(outcome, proofs):
            yield f"\nSURVIVED {mutant.name}" if outcome.killed_by is None else f"\nNOT EQUAL {mutant.name}"
            yield f"  {mutant.place}"
            if outcome.killed_by is not None:
                yield f"  proof: {proofs[mutant.name]}; but noticed: {outcome.killed_by}"
        elif outcome.killed_by is None:
            yield f"\nequal {mutant.name}\n  {proofs[mutant.name]}"


def _table(
    title: str, key: Callable[[Mutant], str], outcomes: Sequence[Outcome], proofs: Mapping[str, str]
) -> Iterator[str]:
    """One line for each value of `key`, and a last one for all."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome.mutant), []).append(outcome)
    width = max(len(name) for name in (title, *groups))
    yield f"{title:{width}}  mutants  killed  equal  survived"
    for name, group in (*groups.items(), ("all", list(outcomes))):
        killed = sum(outcome.killed_by is not None for outcome in group)
        equal = sum(outcome.killed_by is None and outcome.mutant.name in proofs for outcome in group)
        yield f"{name:{width}}  {len(group):7}  {killed:6}  {equal:5}  {len(group) - killed - equal:8}"
