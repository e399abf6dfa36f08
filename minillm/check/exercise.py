"""Exercises: files with a forward and a backward to fill in, graded by `gradcheck`. `examples/exercises/README.md`.

A file has one pair `<name>_forward(*arrays, **attributes) -> y, saved` and `<name>_backward(dy, *saved) -> gradients`,
`inputs(rng) -> arrays, attributes` to check it on, and, if some are known, `LAWS` of `autograd.gradcheck.laws`.
"""

from __future__ import annotations

import runpy
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autograd.gradcheck import GradcheckError, Law, Report, gradcheck
from minillm.errors import UserError

RIGHT, WRONG, NOT_WRITTEN = "right", "wrong", "not written yet"
_MODULE = "__exercise__"  # what the file is called while it runs, so that no module of its name is hidden


@dataclass(frozen=True)
class Exercise:
    """A file that can be graded; the fields are what it defines."""

    path: Path
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: Callable[[np.random.Generator], Any]
    laws: Sequence[Law]


@dataclass(frozen=True)
class Grade:
    """What came out: `state` is RIGHT, WRONG or NOT_WRITTEN, `note` a few words on it, `text` all that is wrong."""

    name: str
    state: str
    note: str = ""
    text: str = ""


def find_exercises(names: Iterable[str]) -> list[Exercise]:
    """The exercises in these files, folders and patterns, each once; all are read before any is graded.

    Raises:
        UserError: there is no such file, or it is no exercise.
    """
    paths = [path for name in names for path in _files(name)]
    return [load_exercise(path) for path in dict.fromkeys(paths)]


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found, where = sorted(path.glob("*.py")), "in the folder"
    elif not path.exists() and set(path.name) & set("*?["):  # the shell left a pattern alone
        found, where = sorted(path.parent.glob(path.name)), "that fits"
    else:
        return [path]
    if not found:
        raise UserError(f"there is no Python file {where} {name!r}: give exercises, such as examples/exercises")
    return found


def load_exercise(path: Path) -> Exercise:
    """Run the file, and take the pair, the inputs and the laws out of it.

    Raises:
        UserError: it cannot be read, is not Python, raises, or has no pair or no inputs.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}: give an exercise, or a folder of them")
    if path.suffix != ".py":
        raise UserError(f"{str(path)!r} is no Python file: give files that end in .py, or a folder")
    try:
        defined = runpy.run_path(str(path), run_name=_MODULE)  # not imported: no stale bytecode of a file just edited
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    except (SyntaxError, UnicodeError) as error:
        place = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{str(path)!r} is not Python{place}: {getattr(error, 'msg', error)}") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"{str(path)!r} cannot be run: {_told(error, path)}") from None
    functions = {name: f for name, f in defined.items() if getattr(f, "__module__", None) == _MODULE and callable(f)}
    stems = [name.removesuffix("_forward") for name in functions if name.endswith("_forward")]
    pairs = [(f"{stem}_forward", f"{stem}_backward") for stem in stems if f"{stem}_backward" in functions]
    if len(pairs) != 1:
        found = f"{len(pairs)} pairs ({', '.join(backward for _, backward in pairs)})" if pairs else "no pair"
        raise UserError(f"{str(path)!r} has {found} of functions x_forward and x_backward: an exercise has one")
    if "inputs" not in functions:
        raise UserError(f"{str(path)!r} has no inputs(rng): define it to return arrays and attributes to check it on")
    laws = defined.get("LAWS", [])
    if not (isinstance(laws, list | tuple) and all(isinstance(law, Law) for law in laws)):
        raise UserError(f"LAWS of {str(path)!r} is {laws!r}: give a list of laws of autograd.gradcheck.laws")
    ((forward, backward),) = pairs
    return Exercise(path, functions[forward], functions[backward], functions["inputs"], laws)


def grade(exercise: Exercise, dtype: str = "float64", seeds: Iterable[int] = (0,)) -> Grade:
    """Check the pair's gradients and laws with each seed, up to the first that fails.

    Raises:
        UserError: its `inputs` are of no use.
    """
    name, path = exercise.path.stem, exercise.path
    for seed in seeds:
        arrays, attributes = _inputs(exercise, seed)
        pair = exercise.forward, exercise.backward
        try:
            report = gradcheck(pair, arrays, attributes, laws=exercise.laws, dtype=dtype, seed=seed)
        except NotImplementedError:
            return Grade(name, NOT_WRITTEN)
        except BdbQuit:  # `q` in a debugger inside the backward
            raise KeyboardInterrupt from None
        except GradcheckError as error:
            if error.report is None:
                return Grade(name, WRONG, "cannot be checked", str(error))
            return Grade(name, WRONG, _wrong(error.report), "\n".join(error.report.failures))
        except (Exception, SystemExit) as error:  # of the user's own lines
            return Grade(name, WRONG, f"raises {type(error).__name__}", _told(error, path))
    n_laws = len(report.laws)
    gradients = f"{len(report.rows)} gradient{'s' if len(report.rows) > 1 else ''}"
    return Grade(name, RIGHT, f"{gradients}, {n_laws} law{'s' if n_laws > 1 else ''}")


def _inputs(exercise: Exercise, seed: int) -> tuple[Sequence[Any], dict[str, Any]]:
    path = exercise.path
    try:
        made = exercise.inputs(np.random.default_rng(seed))
    except (Exception, SystemExit) as error:
        raise UserError(f"inputs(rng) of {str(path)!r} failed: {_told(error, path)}") from None
    if not (
        isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], list | tuple) and isinstance(made[1], dict)
    ):
        raise UserError(
            f"inputs(rng) of {str(path)!r} returned {type(made).__name__}: return arrays and attributes, "
            "such as `return [x, weight], {}`"
        )
    return made


def _wrong(report: Report) -> str:
    """Which gradients and laws are wrong."""
    parts = [f"d{row.name}" for row in report.rows if row.failure]
    parts += [f"law {law!r}" for law, how in report.laws.items() if how]
    return ", ".join(parts)


def _told(error: BaseException, path: Path) -> str:
    """An exception with the last line of the file that it went through, and what the checker noted on it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    place = f"line {frames[-1].lineno}, `{frames[-1].line}`, raises " if frames else ""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return "\n  ".join([f"{place}{what}", *getattr(error, "__notes__", ())])
