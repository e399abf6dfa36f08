"""The pytest fixture `gradcheck`, and its line in pytest's summary. `python -m pytest -p autograd.gradcheck.plugin`.

The hooks are in `_autograd_pytestplugin.py`, which an installed package hands to pytest by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import pytest

from autograd.gradcheck.check import gradcheck
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.report import Report

pytest_plugins = ["_autograd_pytestplugin"]

PACKAGE = __name__.rpartition(".")[0]
OPTIONS = [p.name for p in inspect.signature(gradcheck).parameters.values() if p.kind is p.KEYWORD_ONLY]
Count = dict[str, Any]  # of one test: plain numbers, which pytest-xdist can send from process to process


class Checker:
    """What the fixture is: calls `gradcheck`, with the defaults of the marker of the test that runs."""

    def __init__(self, running: Callable[[], pytest.Item]) -> None:
        self._running = running

    def __call__(self, target: Any, *args: Any, **options: Any) -> Report:
        """`gradcheck(target, inputs, attributes, **options)`, once for each seed; the report with the largest error.

        Raises:
            GradcheckError: as `gradcheck` does, for the first seed that fails.
        """
        __tracebackhide__ = True
        test = self._running()
        options = {**_marked(test), **options}
        first, n_seeds = options.pop("seed", 0), options.pop("seeds", 1)
        try:
            reports = [_counted(test, target, *args, **options, seed=first + i) for i in range(n_seeds)]
        except Exception as error:
            error.__traceback__ = _without_ours(error.__traceback__)
            raise
        return max(reports, key=_largest)


def summary(counts: Sequence[Mapping[str, Any]]) -> str:
    """One line on all the tests of a run."""
    total = {name: sum(count[name] for count in counts) for name in ("gradients", "checks", "wrong", "kinks")}
    largest = max(count["largest"] for count in counts)
    parts = [f"gradcheck: {_plural(total['gradients'], 'gradient')} in {_plural(total['checks'], 'check')}"]
    parts += [f"{total['wrong']} wrong"] if total["wrong"] else []
    parts += [
        f"largest error{' of the others' if total['wrong'] else ''} {100 * largest:.2g} % of what rounding explains"
    ]
    parts += [f"{_plural(total['kinks'], 'kink')} skipped"] if total["kinks"] else []
    return ", ".join(parts)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _marked(test: pytest.Item) -> dict[str, Any]:
    """The options of the test's markers; those of the test itself win over those of its class and module."""
    options: dict[str, Any] = {}
    for marker in reversed(list(test.iter_markers("gradcheck"))):
        if marker.args:
            pytest.fail(
                f"@pytest.mark.gradcheck was given {marker.args[0]!r} by position: name it, as in seeds=5", False
            )
        options |= marker.kwargs
    unknown = sorted(options.keys() - {"seeds", *OPTIONS})
    if unknown:
        pytest.fail(
            f"@pytest.mark.gradcheck was given {unknown[0]}=...: choose from seeds, {', '.join(OPTIONS)}", False
        )
    if not (isinstance(options.get("seeds", 1), int) and options.get("seeds", 1) >= 1):
        pytest.fail(
            f"@pytest.mark.gradcheck was given seeds={options['seeds']!r}: give a whole number of 1 or more", False
        )
    return options


def _counted(test: pytest.Item, *args: Any, **options: Any) -> Report:
    """`gradcheck`, counted among the test's properties; they also reach JUnit's XML."""
    try:
        report = gradcheck(*args, **options)
    except GradcheckError as error:
        if error.report is not None:
            _count(test, error.report)
        raise
    _count(test, report)
    return report


def _count(test: pytest.Item, report: Report) -> None:
    name = "gradcheck"
    count: Count = dict(test.user_properties).get(name)  # type: ignore[assignment]  # others' properties are of any type
    if count is None:
        count = {"gradients": 0, "checks": 0, "wrong": 0, "kinks": 0, "largest": 0.0}
        test.user_properties.append((name, count))
    count["gradients"] += len(report.rows)
    count["checks"] += 1
    count["wrong"] += sum(row.failure is not None for row in report.rows)
    count["kinks"] += report.kinks
    count["largest"] = max(count["largest"], _largest(report))


def _largest(report: Report) -> float:
    """The largest error of a right gradient, as a share of what rounding explains."""
    return max((float(row.of_bound) for row in report.rows if row.failure is None), default=0.0)


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the checker's own frames: what is left is the test and the function under check."""
    if traceback is None:
        return None
    rest = _without_ours(traceback.tb_next)
    if traceback.tb_frame.f_globals.get("__name__", "").startswith(PACKAGE):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)
