"""Hand-written gradients against the oracles, input by input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from autograd.backends import Array
from autograd.gradcheck import oracles
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.oracles import Line, Slope
from autograd.gradcheck.report import COMPLEX, COMPOSED, DIFFERENCES, Report, Row
from autograd.gradcheck.subject import ShapeError, Subject
from autograd.gradcheck.tape import Recorded
from autograd.gradcheck.tolerance import COARSE, allowed, resolution

FULL = 256  # inputs with up to this many elements are checked one by one
DIRECTIONS = 16  # larger ones along this many random directions

Place: TypeAlias = tuple[int, ...] | None  # of an element; None: a random direction through the whole input


@dataclass
class Probe:
    """What the numeric oracles say along one direction; `complex_step` is None where it cannot be asked."""

    place: Place
    direction: Array
    differences: Slope
    complex_step: Slope | None

    @property
    def doubt(self) -> float:
        """How far differences may be off. Their estimate of it is now and then too small, so where a complex step says
        the last digits, which it does to rounding, they vouch for the first four alone."""
        return 4 * self.differences.error + (COARSE * self.differences.magnitude if self.complex_step else 0)

    @property
    def disagrees(self) -> bool:
        return self.complex_step is not None and not self.agrees

    @property
    def agrees(self) -> bool:
        """Whether the two say the same, which they do not at a kink: differences straddle it."""
        return self.complex_step is not None and abs(self.differences.value - self.complex_step.value) <= self.doubt


@dataclass
class Compared:
    """A probe, the hand-written gradient along it, and for each oracle what it expects and how far off that is.

    `of_bound` is the difference as a share of what rounding explains.
    """

    probe: Probe
    analytic: float
    expected: dict[str, float]
    of_bound: dict[str, float]

    @property
    def worst(self) -> float:
        return max(self.of_bound.values())

    @property
    def off(self) -> list[str]:
        """The oracles that the gradient differs from."""
        return [oracle for oracle, share in self.of_bound.items() if share > 1]


class Comparison:
    """A subject at one point, with one dy.

    Attributes:
        exact: the values in float64: the very numbers that are checked, with digits to spare for the oracles.
        wrong: for each gradient that is wrong, as it was returned, with booleans of which elements are (all of them
            where that is not known).
    """

    def __init__(self, subject: Subject, report: Report, *, analytic: bool | None, directions: int | None) -> None:
        self.subject, self.report, self.analytic, self.directions = subject, report, analytic, directions
        self.y = subject.forward(subject.values)
        self.dy = subject.upstream(self.y)
        self.dy64 = self.dy.astype(np.float64)
        self.exact = subject.recast("float64")
        self.wrong: dict[str, tuple[Array, Array]] = {}
        self._complex = {n: v.astype(np.complex128) if n in subject.wrt else v for n, v in self.exact.items()}
        self._noise = subject.forward_noise(self.exact)
        lost = np.abs(self.y - subject.forward(self.exact)) + self._noise
        self._resolution = resolution(subject.dtype, self.dy64, self.y, lost)

    def run(self, composition: Recorded | None) -> None:
        """Add a row to the report for each input and parameter."""
        subject = self.subject
        ours = subject.gradients(subject.values, self.dy)
        noise = subject.noise(subject.values, self.dy)
        if composition is not None and (shape := composition.forward(self.exact).shape) != self.y.shape:
            raise GradcheckError(
                f"the composition of {subject.name} returned shape {shape}, {subject.name} itself {self.y.shape}: it "
                "must compute the same"
            )
        composed = None if composition is None else composition.gradients(self.exact, self.dy64)
        if composed is None:
            self.report.without[COMPOSED] = "no composition is known"
        if self.analytic is False:
            self.report.without[COMPLEX] = "switched off"
        for name in subject.wrt:
            expected = None if composed is None else composed[name]
            with np.errstate(all="ignore"):  # a gradient that is not finite is a finding, not a warning
                self.report.rows.append(self._row(name, ours[name], noise[name], expected))

    def wrong_shape(self, error: ShapeError) -> None:
        """Add the row of a gradient that has another shape than its input."""
        self.report.rows.append(Row(error.name, error.shape, failure=str(error)))
        if error.name in self.subject.wrt:  # else it is an input of one of the subject's ops
            self.wrong[error.name] = error.gradient, np.ones(error.shape, bool)

    def slope(self, name: str, place: tuple[int, ...]) -> Slope:
        """The numeric derivative by one element."""
        v = np.zeros(self.exact[name].shape)
        v[place] = 1
        return self._complex_step(name, v) or oracles.differences(self._line(name, v), self.dy64, self._noise)

    def _row(self, name: str, ours: Array, noise: Array, composed: Array | None) -> Row:
        """How far the gradient of one input is from each oracle, and what is wrong with it, if anything."""
        row = Row(name, ours.shape)
        compared: list[Compared] = []
        for probe in self._probes(name):
            one = self._compare(probe, ours, noise, composed)
            if probe.disagrees or (one.worst > 1 and not probe.agrees):  # look closer: is it a kink?
                probe.differences = oracles.search(self._line(name, probe.direction), self.dy64, self._noise)
                one = self._compare(probe, ours, noise, composed)
            found = probe.differences
            coarse = found.error > COARSE * max(found.magnitude, abs(one.analytic))
            if (found.kink and not probe.agrees) or (coarse and probe.complex_step is None):
                row.kinks += 1
            else:
                compared.append(one)
        self._drop_complex_step_where_not_analytic(name, compared)
        row.checked = len(compared)
        row.of_bound = max((one.worst for one in compared), default=0.0)
        size = max((abs(value) for one in compared for value in one.expected.values()), default=0.0)
        for oracle in compared[0].expected if compared else ():
            largest = max(abs(one.analytic - one.expected[oracle]) for one in compared)
            row.errors[oracle] = largest / size if size else largest
        if row.of_bound > 1:
            row.failure = _failure(row, compared)
            if all(one.off in ([], [COMPOSED]) for one in compared):
                row.failure += "\n  diagnosis: the gradient is right, the composition computes something else"
                return row
            wrong = np.full(ours.shape, compared[0].probe.place is None)
            for one in compared:
                if one.probe.place is not None:
                    wrong[one.probe.place] = one.worst > 1
            self.wrong[name] = ours, wrong
        return row

    def _probes(self, name: str) -> Iterator[Probe]:
        """What the numeric oracles say of an input, element by element or along random directions."""
        x = self.exact[name]
        rng = np.random.default_rng((self.subject.seed, 2))
        one_by_one = self.directions is None and x.size <= FULL
        places: list[Place] = list(np.ndindex(x.shape)) if one_by_one else [None] * (self.directions or DIRECTIONS)
        for place in places:
            v = np.zeros(x.shape) if place is not None else rng.choice([-1.0, 1.0], x.shape) / x.size**0.5
            if place is not None:
                v[place] = 1
            yield Probe(
                place, v, oracles.differences(self._line(name, v), self.dy64, self._noise), self._complex_step(name, v)
            )

    def _compare(self, probe: Probe, ours: Array, noise: Array, composed: Array | None) -> Compared:
        v = probe.direction
        best = probe.complex_step or probe.differences
        noise_along = float((noise * np.abs(v)).sum())
        bound = float(allowed(self.subject.dtype, self.y.size, best.magnitude, noise_along)) + self._resolution
        one = Compared(probe, float((ours.astype(np.float64) * v).sum()), {DIFFERENCES: probe.differences.value}, {})
        if probe.complex_step is not None:
            one.expected[COMPLEX] = probe.complex_step.value
        if composed is not None:
            one.expected[COMPOSED] = float((composed * v).sum())
        for oracle, value in one.expected.items():
            difference = abs(one.analytic - value)
            limit = bound + (probe.doubt if oracle == DIFFERENCES else 0)
            share = difference / limit if limit else 0.0 if difference == 0 else np.inf
            one.of_bound[oracle] = share if np.isfinite(difference) else np.inf
        return one

    def _drop_complex_step_where_not_analytic(self, name: str, compared: list[Compared]) -> None:
        """A function that takes complex numbers but drops the imaginary part somewhere: differences know better.

        Where they agree with the complex step, within their own error, it is the gradient that is wrong.
        """
        off = [one for one in compared if one.of_bound.get(COMPLEX, 0) > 1]
        known_better = not any(one.probe.agrees or one.of_bound[DIFFERENCES] > 1 for one in off)
        if self.analytic is None and off and known_better:
            self.report.without[COMPLEX] = f"the function is not analytic in {name}"
            for one in compared:
                one.probe.complex_step = None
                del one.expected[COMPLEX], one.of_bound[COMPLEX]

    def _line(self, name: str, v: Array) -> Line:
        """t -> y at x + t v."""
        return lambda t: self.subject.forward({**self.exact, name: self.exact[name] + t * v})

    def _complex_step(self, name: str, v: Array) -> Slope | None:
        if self.analytic is False or COMPLEX in self.report.without:
            return None
        slope = oracles.complex_step(
            lambda t: self.subject.forward({**self._complex, name: self._complex[name] + t * v}), self.dy64
        )
        if slope is None and self.analytic:
            raise GradcheckError(
                f"{self.subject.name} does not take complex numbers: leave analytic=True out, or take the real part "
                "only where a number is compared or cancels, with x.real"
            )
        if slope is None:
            self.report.without[COMPLEX] = "the function does not take complex numbers"
        return slope


def _failure(row: Row, compared: list[Compared]) -> str:
    """That a gradient is wrong, how often, and the worst of it in numbers."""
    worst = max(compared, key=lambda one: one.worst)
    place, g = worst.probe.place, worst.analytic
    off = worst.off
    oracle = next(o for o in (COMPLEX, DIFFERENCES, COMPOSED) if o in off)
    numeric = worst.expected[oracle]
    where = f"{row.name} along a random direction" if place is None else f"{row.name}{list(place)}"
    agreeing = " and ".join(oracle for oracle in worst.of_bound if oracle not in off)
    return (
        f"The gradient of {row.name} {row.shape} is wrong in {sum(one.worst > 1 for one in compared)} of "
        f"{len(compared)} places.\n"
        f"  worst at {where}: analytic {g:.10g}, {'composition' if oracle == COMPOSED else 'numeric'} {numeric:.10g}, "
        f"ratio {f'{g / numeric:.6g}' if numeric else 'infinite'}\n"
        f"  it differs from {' and '.join(off)}{f', not from {agreeing}' if agreeing else ''}"
    )
