"""Calling what is under check, so that what goes wrong inside is told in terms of it."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from autograd.gradcheck.errors import GradcheckError
from autograd.tape import AutogradError
from autograd.tensor import Tensor

FORWARD = "a forward takes the inputs and attributes that gradcheck is given"
BACKWARD = "a backward takes dy, and then what the forward saved, in that order"


def call(name: str, takes: str, function: Callable[..., Any], *args: Any, **attributes: Any) -> Any:
    """`function(*args, **attributes)`; `takes` says what it must take.

    Raises:
        GradcheckError: its signature does not take them.
    """
    try:
        return function(*args, **attributes)
    except TypeError as error:
        if _takes(function, args, attributes):
            raise
        given = ", ".join([*map(describe, args), *(f"{key}={value!r}" for key, value in attributes.items())])
        raise GradcheckError(
            f"gradcheck called {name} with {given}, which it does not take: {error}; {takes}"
        ) from None


def _takes(function: Callable[..., Any], args: Sequence[Any], attributes: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **attributes)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


@contextmanager
def told(name: str, part: str, values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[None]:
    """Add to an exception of `name` in which part of it, and at which values, it was raised.

    Raises:
        GradcheckError: in place of NumPy's error for a write to a read-only array, and of the engine's own errors.
    """
    try:
        yield
    except GradcheckError:
        raise
    except AutogradError as error:
        raise GradcheckError(str(error)) from None
    except Exception as error:
        if isinstance(error, ValueError) and "read-only" in str(error):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise GradcheckError(
                f"{frame.name} writes into an array that is not its own, an input, dy or a saved array, in line "
                f"{frame.lineno} of {frame.filename}: write to a copy or to a new array"
            ) from None
        error.add_note(f"gradcheck was running the {part} of {name} {_at(values, given)}")
        raise


def _at(values: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Where `values` are, seen from those that gradcheck was given."""
    arrays = {name: x for name, x in values.items() if isinstance(x, np.ndarray)}
    dtypes = ", ".join(f"{name} {x.dtype} {x.shape}" for name, x in arrays.items())
    moved = any(not np.array_equal(x, given[name], equal_nan=x.dtype.kind in "fc") for name, x in arrays.items())
    return ("at inputs moved by a small step" if moved else "at the inputs") + f" ({dtypes})"


def describe(x: object) -> str:
    """What x is, for messages."""
    if x is None:
        return "None"
    kind = type(x).__name__
    kind = f"a{'n' if kind[0] in 'aeiou' else ''} {kind}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{'a Tensor' if isinstance(x, Tensor) else 'an array'} of {x.dtype} {x.shape}"
    return f"{kind} of {len(x)}" if isinstance(x, (tuple, list)) else kind
