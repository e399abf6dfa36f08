"""The pytest plugin of `autograd.gradcheck`, as pytest loads it at every start in every project of an environment.

A module of its own, since a submodule of `autograd` brings NumPy with it: that is imported when a test asks for the
fixture, and not before.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autograd.gradcheck.plugin import Checker

CURRENT = pytest.StashKey[pytest.Item]()  # the test that runs


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "gradcheck(seeds=1, **options): run each check of the fixture `gradcheck` with so many seeds, and with these "
        "options of autograd.gradcheck.gradcheck, such as dtype='float32' or laws=[...].",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    item.config.stash[CURRENT] = item
    return (yield)


@pytest.fixture(scope="session")  # not per test: hypothesis refuses those in its tests
def gradcheck(pytestconfig: pytest.Config) -> Checker:
    """`autograd.gradcheck.gradcheck` with the options of `@pytest.mark.gradcheck(...)`; counted in the summary."""
    from autograd.gradcheck.plugin import Checker

    return Checker(lambda: pytestconfig.stash[CURRENT])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    ended = [report for report in reports if getattr(report, "when", None) == "teardown"]
    counts = [value for report in ended for name, value in report.user_properties if name == "gradcheck"]
    if counts:
        from autograd.gradcheck.plugin import summary

        terminalreporter.write_line(summary(counts))
