"""The exception of the checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autograd.gradcheck.report import Report


class GradcheckError(AssertionError):
    """A gradient is wrong, a law is broken, or what was given cannot be checked; the message says which.

    `report` is what was found, or None where the check could not run.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report
