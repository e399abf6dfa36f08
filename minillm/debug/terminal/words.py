"""What the stepper says of a call and of an error."""

from __future__ import annotations

import traceback

from autograd import AutogradError
from autograd.debug.source import shown_path
from autograd.origin import shown
from autograd.tape import Node


def called(node: Node) -> str:
    """The layer's line that called the op."""
    place = node.origin.caller_line
    return f"called at {shown_path(place[0])}:{place[1]}" if place else ""


def told(error: Exception) -> str:
    """An error of the debugger's own as it is; any other with the place it was raised at."""
    if isinstance(error, AutogradError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, at {shown(last.filename, last.lineno or 0)} in {last.name}"
