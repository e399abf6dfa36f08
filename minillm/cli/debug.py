"""`minillm debug`: step through the backward pass of a GPT in the terminal, or write it as a page."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograd.debug import DebugError
from minillm import GPTConfig, UserError
from minillm.data import STDLIB

if TYPE_CHECKING:
    from minillm.debug import Session

MODEL_FLAGS = ("n_layer", "n_head", "d_model", "context_length")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "debug",
        help="step through a backward pass",
        description="Step through the backward pass of a small new GPT on a piece of text, or of a trained one on a "
        "prompt: in the terminal, or with --html as a page for a browser.",
    )
    parser.add_argument(
        "model", metavar="RUN", nargs="?", help="a run folder of `minillm train`, or a .safetensors file; with --prompt"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="text whose tokens the model of RUN predicts, at least two")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to FILE instead of opening the stepper")
    parser.add_argument(
        "--break-on", action="append", metavar="NAME", help="an op or a layer to stop at; may be given again"
    )
    group = parser.add_argument_group("without RUN (a model of bytes, small enough to read)")
    group.add_argument("--data", nargs="+", metavar="PATH", help=f"files, folders, globs or {STDLIB} ({STDLIB})")
    group.add_argument("--seed", type=int, metavar="N", help="of the weights and the place in the text (0)")
    for field in fields(GPTConfig):
        if field.name in MODEL_FLAGS:
            flag = f"--{field.name.replace('_', '-')}"
            group.add_argument(flag, type=int, metavar="N", help=field.metadata["help"])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minillm.threads import limit_threads

    _check(args)
    with limit_threads(1):  # for small arrays several would wait for each other, long on a busy machine
        if args.html is None:
            _open_stepper(args)
        else:
            _write_page(args)
    return 0


def _write_page(args: argparse.Namespace) -> None:
    from minillm.debug.page import write_page

    with _enough_memory():
        write_page(_session(args), args.html)
    print(f"wrote {args.html}")


def _open_stepper(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: Textual is not installed, there is no terminal, or a breakpoint names nothing.
    """
    try:
        from minillm.debug import terminal
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise UserError(
            f"the stepper needs the package {error.name}, which is not installed: pip install 'minillm[debug]', "
            "or give --html FILE for a page"
        ) from error
    if not has_terminal():
        raise UserError(
            "the stepper needs a terminal that can move the cursor, and input or output is none: "
            "give --html FILE for a page"
        )
    try:
        with _enough_memory():
            session = _session(args)
        terminal.run(session, args.break_on or ())
    except DebugError as error:  # a name in --break-on
        raise UserError(f"--break-on: {error}") from error


def has_terminal() -> bool:
    """Whether somebody reads the output and gives the input, where text can be placed."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _enough_memory() -> Iterator[None]:
    """
    Raises:
        UserError: there is not.
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        raise UserError(
            "there is not enough memory to keep every value of this model's pass: give a smaller model, "
            "or a shorter text (--context-length, --prompt)"
        ) from error


def _check(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: options that do not go together.
    """
    of_text = [name for name in ("data", "seed", *MODEL_FLAGS) if getattr(args, name) is not None]
    if args.model is None and args.prompt is not None:
        raise UserError("--prompt was given without a model: give a run folder too, minillm debug RUN --prompt TEXT")
    if args.model is not None and args.prompt is None:
        raise UserError(f"{args.model!r} was given without a text: give --prompt TEXT, of at least two tokens")
    if args.model is not None and of_text:
        raise UserError(f"--{of_text[0].replace('_', '-')} is for a new model: leave it out, or leave out RUN")
    if args.html is not None and args.break_on:
        raise UserError("--break-on is for the stepper: leave it out, or leave out --html")
    if args.seed is not None and args.seed < 0:
        raise UserError(f"seed is {args.seed}: give a whole number of at least 0")


def _session(args: argparse.Namespace) -> Session:
    from minillm.debug import Session
    from minillm.debug.session import small_config

    if args.model is not None:
        return Session.from_run(args.model, args.prompt)
    given: dict[str, Any] = {name: getattr(args, name) for name in MODEL_FLAGS if getattr(args, name) is not None}
    return Session.from_text(config=small_config(**given), data=args.data, seed=args.seed or 0)
