"""What a check found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

DIFFERENCES, COMPLEX, COMPOSED = ORACLES = ("differences", "complex step", "composition")


@dataclass
class Row:
    """One input or parameter.

    Attributes:
        checked: how many elements, or random directions, were compared.
        kinks: how many of them were skipped, since the function has no derivative there.
        errors: largest difference from each oracle that could be asked, relative to the largest element.
        of_bound: largest difference as a share of what rounding explains; above 1 the gradient is wrong.
        failure: what is wrong, or None.
    """

    name: str
    shape: tuple[int, ...]
    checked: int = 0
    kinks: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    of_bound: float = 0.0
    failure: str | None = None


@dataclass
class Report:
    """What `gradcheck` found.

    Attributes:
        target: name of what was checked.
        rows: one for each input and parameter that gets a gradient.
        laws: for each law None where it holds, else how it is broken.
        without: for each oracle that could not be asked, why.
        at_fault: where gradients of a module or model are wrong, a report on each of its ops that is wrong alone.
        reproducer: source code that repeats the check, where it is short enough.
        seconds: how long the check took.
    """

    target: str
    dtype: str
    seed: int
    rows: list[Row] = field(default_factory=list)
    laws: dict[str, str | None] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    at_fault: list[Report] | None = None
    reproducer: str | None = None
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """A text for each wrong gradient and each broken law."""
        broken = [f"the law {name!r} is broken: {how}" for name, how in self.laws.items() if how]
        return [row.failure for row in self.rows if row.failure] + broken

    @property
    def kinks(self) -> int:
        return sum(row.kinks for row in self.rows)

    def worst(self, oracle: str | None = None) -> float:
        """The largest relative error, of one oracle or of all."""
        return max((e for row in self.rows for name, e in row.errors.items() if oracle in (None, name)), default=0.0)

    def __str__(self) -> str:
        wrong = sum(row.failure is not None for row in self.rows)
        state = f"wrong in {wrong} of {len(self.rows)} gradients" if wrong else "gradients are right"
        lines = [f"{self.target}: {state} ({self.dtype}, seed {self.seed}, {self.seconds:.2f} s)"]
        for row in self.rows:
            errors = ", ".join(f"{name} {e:.1e}" for name, e in row.errors.items()) or "nothing compared"
            kinks = f", {row.kinks} kinks skipped" if row.kinks else ""
            lines.append(f"  {row.name} {row.shape}: {row.checked} compared{kinks}; largest error by {errors}")
        lines += [f"  without {oracle}: {why}" for oracle, why in self.without.items()]
        lines += [f"  law {name}: {'broken' if how else 'holds'}" for name, how in self.laws.items()]
        if not self.at_fault:
            lines += [f"\n{failure}" for failure in self.failures]
        for report in self.at_fault or []:  # what it does to the gradients behind it is no news
            lines.append(f"\nWrong: {', '.join(row.name for row in self.rows if row.failure)}")
            lines.append(f"The op at fault is {report.target}, which is wrong alone, on the numbers it is given here:")
            lines += [f"\n{failure}" for failure in report.failures]
        if self.at_fault == []:
            lines.append("\nEach of its ops is right alone: the fault is in how they are joined.")
        if self.reproducer and self.failures:
            lines.append(f"\nTo reproduce:\n\n{self.reproducer}")
        return "\n".join(lines)
