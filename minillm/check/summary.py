"""A layer's reports over some seeds, in one row of numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from autograd.gradcheck import GradcheckError, Report
from minillm.check.layers import check_layer


@dataclass
class Summary:
    """What the checks of one layer found.

    Attributes:
        gradients: whether each, by the name of its input or parameter, was right with every seed.
        errors: largest difference from each oracle that was asked, relative to the largest gradient.
        of_bound: largest difference as a share of what rounding explains; above 1 the gradient is wrong.
        kinks: points skipped, since the function has no derivative there.
        laws: whether each was kept with every seed.
        failures: the whole text for each seed that failed.
    """

    layer: str
    gradients: dict[str, bool] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    of_bound: float = 0.0
    kinks: int = 0
    laws: dict[str, bool] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, report: Report) -> None:
        for row in report.rows:
            self.gradients[row.name] = self.gradients.get(row.name, True) and row.failure is None
            self.of_bound = max(self.of_bound, row.of_bound)
            for oracle, error in row.errors.items():
                self.errors[oracle] = max(self.errors.get(oracle, 0.0), error)
        for law, how in report.laws.items():
            self.laws[law] = self.laws.get(law, True) and how is None
        self.kinks += report.kinks


def summarise(layer: str, dtype: str, seeds: Iterable[int]) -> Summary:
    """Check a layer with each seed. Failures are collected; nothing is raised."""
    summary, start = Summary(layer), time.perf_counter()
    for seed in seeds:
        try:
            summary.add(check_layer(layer, dtype, seed))
        except GradcheckError as error:
            if error.report is not None:
                summary.add(error.report)
            summary.failures.append(f"{layer} with seed {seed}: {error}")
    summary.seconds = time.perf_counter() - start
    return summary
