"""Hand-written gradients against the oracles, input by input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from autograd.backends import Array
from autograd.gradcheck import oracles
from autograd.gradcheck.diagnosis import Evidence, diagnose
from autograd.gradcheck.oracles import Line, Slope
from autograd.gradcheck.report import COMPLEX, COMPOSED, DIFFERENCES, Report, Row
from autograd.gradcheck.subject import ShapeError, Subject, upstream
from autograd.gradcheck.tape import Recorded
from autograd.gradcheck.tolerance import COARSE, SAME_PATTERN, allowed, resolution

FULL = 256  # inputs with up to this many elements are checked one by one
DIRECTIONS = 16  # larger ones along this many random directions
MOST_TERMS = 1 << 22  # more than these, elements of the input times elements of the output, a diagnosis does without

Place: TypeAlias = tuple[int, ...] | None  # of an element; None: a random direction through the whole input


@dataclass
class Probe:
    """One comparison, along one direction: what the oracles say of it. None where one cannot be asked."""

    place: Place
    direction: Array
    differences: Slope
    complex_step: Slope | None

    @property
    def best(self) -> Slope:
        return self.differences if self.complex_step is None else self.complex_step


# a probe, the gradient each oracle expects along it, and the difference from it as a share of what rounding explains
Compared: TypeAlias = tuple[Probe, dict[str, float], dict[str, float]]


class Comparison:
    """A subject at one point, with one dy.

    `exact` are its values in float64: the very numbers that are checked, with digits to spare for the oracles.
    """

    def __init__(self, subject: Subject, report: Report, *, analytic: bool | None, directions: int | None) -> None:
        self.subject, self.report, self.analytic, self.directions = subject, report, analytic, directions
        self.y = subject.forward(subject.values)
        self.dy = upstream(self.y, np.random.default_rng((subject.seed, 1)))
        self.dy64 = self.dy.astype(np.float64)
        self.resolution = resolution(self.dy64, self.y)
        self.exact = subject.recast("float64")
        self.complex = {n: v.astype(np.complex128) if n in subject.wrt else v for n, v in self.exact.items()}

    def run(self, composition: Recorded | None) -> None:
        """Add a row to the report for each input and parameter."""
        subject = self.subject
        ours = subject.gradients(subject.values, self.dy)
        noise = subject.noise(subject.values, self.dy)
        composed = None if composition is None else composition.gradients(self.exact, self.dy64)
        if composed is None:
            self.report.without[COMPOSED] = "no composition is known"
        if self.analytic is False:
            self.report.without[COMPLEX] = "switched off"
        for name in subject.wrt:
            probes = list(self.probes(name, self.directions))
            expected = None if composed is None else composed[name]
            self.report.rows.append(self.judge(name, probes, ours[name], noise[name], expected))

    def probes(self, name: str, directions: int | None) -> Iterator[Probe]:
        """What the numeric oracles say of an input, element by element or along random directions."""
        x = self.exact[name]
        rng = np.random.default_rng((self.subject.seed, 2))
        one_by_one = directions is None and x.size <= FULL
        places: list[Place] = list(np.ndindex(x.shape)) if one_by_one else [None] * (directions or DIRECTIONS)
        for place in places:
            v = np.zeros(x.shape) if place is not None else rng.choice([-1.0, 1.0], x.shape) / x.size**0.5
            if place is not None:
                v[place] = 1
            yield Probe(place, v, oracles.differences(self._line(name, v), self.dy64), self._complex_step(name, v))

    def judge(self, name: str, probes: list[Probe], ours: Array, noise: Array, composed: Array | None) -> Row:
        """The row of one input: how far its gradient is from each oracle, and what is wrong with it, if anything."""
        row = Row(name, ours.shape)
        compared: list[Compared] = []
        for probe in probes:
            if probe.differences.kink:
                row.kinks += 1
                continue
            g, expected, of_bound = self._share(probe, ours, noise, composed)
            if max(of_bound.values()) > 1:  # look closer: at a kink there is nothing to compare with
                probe.differences = oracles.search(self._line(name, probe.direction), self.dy64)
                coarse = probe.differences.error > COARSE * max(probe.differences.magnitude, abs(g))
                if probe.differences.kink or (coarse and probe.complex_step is None):
                    row.kinks += 1
                    continue
                g, expected, of_bound = self._share(probe, ours, noise, composed)
            compared.append((probe, expected, of_bound))
        row.checked = len(compared)
        over = {oracle: any(share.get(oracle, 0) > 1 for *_, share in compared) for oracle in (DIFFERENCES, COMPLEX)}
        if self.analytic is None and over[COMPLEX] and not over[DIFFERENCES]:
            self.report.without[COMPLEX] = f"the function is not analytic in {name}"
            for probe, expected, of_bound in compared:
                probe.complex_step = None
                del expected[COMPLEX], of_bound[COMPLEX]
        self._measure(row, compared, ours)
        if row.of_bound > 1:
            row.failure = self._failure(row, compared, ours)
        return row

    def _share(
        self, probe: Probe, ours: Array, noise: Array, composed: Array | None
    ) -> tuple[float, dict[str, float], dict[str, float]]:
        """The analytic gradient along the probe, what each oracle expects, and each difference's share of the bound."""
        v = probe.direction
        g = float((ours.astype(np.float64) * v).sum())
        expected = {DIFFERENCES: probe.differences.value}
        if probe.complex_step is not None:
            expected[COMPLEX] = probe.complex_step.value
        if composed is not None:
            expected[COMPOSED] = float((composed * v).sum())
        bound = float(allowed(self.subject.dtype, self.y.size, probe.best.magnitude, float((noise * np.abs(v)).sum())))
        share = {}
        for oracle, value in expected.items():
            limit = bound + self.resolution + (4 * probe.differences.error if oracle == DIFFERENCES else 0)
            difference = abs(g - value)
            share[oracle] = difference / limit if limit else 0.0 if difference == 0 else np.inf
            if not np.isfinite(difference):
                share[oracle] = np.inf
        return g, expected, share

    def _measure(self, row: Row, compared: list[Compared], ours: Array) -> None:
        """Set the row's errors: the largest of each oracle, relative to the largest gradient."""
        if not compared:
            return
        expected = [e for _, e, _ in compared]
        size = max(abs(value) for e in expected for value in e.values())
        analytic = [float((ours * probe.direction).sum()) for probe, _, _ in compared]
        for oracle in expected[0]:
            worst = max(abs(g - e[oracle]) for g, e in zip(analytic, expected, strict=True))
            row.errors[oracle] = worst / size if size else worst
        row.of_bound = max(s for _, _, share in compared for s in share.values())

    def _failure(self, row: Row, compared: list[Compared], ours: Array) -> str:
        """What is wrong with a gradient: the worst element, its numbers, and what kind of bug it looks like."""
        worst, expected, share = max(compared, key=lambda c: max(c[2].values()))
        n_wrong = sum(max(s.values()) > 1 for _, _, s in compared)
        g, oracles_off = float((ours * worst.direction).sum()), [oracle for oracle, s in share.items() if s > 1]
        numeric = expected.get(COMPLEX, expected[DIFFERENCES])
        ratio = f"{g / numeric:.6g}" if numeric else "infinite"
        where = f"{row.name}{list(worst.place)}" if worst.place is not None else f"{row.name} along a random direction"
        others = [oracle for oracle in share if oracle not in oracles_off]
        return (
            f"The gradient of {row.name} {row.shape} is wrong in {n_wrong} of {row.checked} places.\n"
            f"  worst at {where}: analytic {g:.10g}, numeric {numeric:.10g}, ratio {ratio}\n"
            f"  it differs from {' and '.join(oracles_off)}"
            + (f", not from {' and '.join(others)}" if others else "")
            + f"\n  diagnosis: {self._diagnosis(row, compared, ours)}"
        )

    def _diagnosis(self, row: Row, compared: list[Compared], ours: Array) -> str:
        wrong = np.zeros(ours.shape, bool)
        for probe, _, share in compared:
            if probe.place is not None and max(share.values()) > 1:
                wrong[probe.place] = True
        if not wrong.any():
            if ours.size * self.y.size > MOST_TERMS:
                return "none for an input of this size: check a smaller one"
            wrong[...] = True
        return diagnose(self._evidence(row.name, ours, wrong)).sentence

    def wrong_shape(self, error: ShapeError) -> None:
        """Add the row of a gradient that has another shape than its input."""
        row = Row(error.name, error.shape, failure=str(error))
        self.report.rows.append(row)
        if error.name in self.subject.wrt:  # else it is an input of one of the subject's ops
            evidence = self._evidence(error.name, error.gradient, np.ones(error.shape, bool))
            row.failure = f"{error}\n  diagnosis: {diagnose(evidence).sentence}"

    def _evidence(self, name: str, ours: Array, wrong: Array) -> Evidence:
        """All that a diagnosis looks at; the numeric gradient is taken anew, element by element."""
        x, y = self.exact[name], self.y
        slopes = np.array([self._slope(name, place).terms for place in np.ndindex(x.shape)]).reshape(*x.shape, *y.shape)
        axes = tuple(range(x.ndim, slopes.ndim))
        more = []
        for i in range(3):
            dy = upstream(y, np.random.default_rng((self.subject.seed, 3, i)))
            terms = slopes * (dy / self.dy64)
            if ours.shape == x.shape:
                more.append((self.subject.gradients(self.subject.values, dy)[name], terms.sum(axes)))
        return Evidence(
            name=name,
            analytic=ours,
            numeric=slopes.sum(axes),
            wrong=wrong,
            terms=slopes if slopes.size <= MOST_TERMS else None,
            values={n: self.exact[n] for n in self.subject.wrt},
            y=y,
            dy=self.dy64,
            more=more,
            tolerance=SAME_PATTERN,
        )

    def _slope(self, name: str, place: tuple[int, ...]) -> Slope:
        v = np.zeros(self.exact[name].shape)
        v[place] = 1
        return self._complex_step(name, v) or oracles.differences(self._line(name, v), self.dy64)

    def _line(self, name: str, v: Array) -> Line:
        """t -> y at x + t v."""
        return lambda t: self.subject.forward({**self.exact, name: self.exact[name] + t * v})

    def _complex_step(self, name: str, v: Array) -> Slope | None:
        if self.analytic is False or COMPLEX in self.report.without:
            return None
        slope = oracles.complex_step(
            lambda t: self.subject.forward({**self.complex, name: self.complex[name] + t * v}), self.dy64
        )
        if slope is None:
            self.report.without[COMPLEX] = "the function does not take complex numbers"
        return slope
