"""What the debugger says when it is asked for something that is not there."""

from __future__ import annotations

from collections.abc import Iterable

from autograd.tape import AutogradError, Leaf


class DebugError(AutogradError):
    """A wrong use of the debugger; the message says which and what to do."""


def check_output(function: str, given: object) -> None:
    """
    Raises:
        DebugError: `given` to a function that looks at a graph is no Tensor.
    """
    if not isinstance(given, Leaf):
        what = type(given).__name__
        raise DebugError(f"{function}() was given {what}: give the Tensor whose graph it shall show, such as the loss")


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> DebugError:
    """An error for a name that is none of `known`, with those nearest to it."""
    what = f"there is no {kind} {name!r}{where}"
    known = sorted(set(known))
    import difflib  # here, where a mistake was made: it would make every `import autograd` slower

    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    if near:
        return DebugError(f"{what}: did you mean {' or '.join(map(repr, near))}?")
    some = ", ".join(map(repr, known[:10])) + (", ..." if len(known) > 10 else "")
    return DebugError(f"{what}: {f'choose from {some}' if known else 'there is none at all'}")
