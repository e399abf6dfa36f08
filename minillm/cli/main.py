"""`minillm`: reads the command line, runs one subcommand, and turns a user's mistake into one line.

Exit codes: 0 done, 1 a check failed, 2 a mistake of the user's, 130 interrupted, 141 nobody reads the output.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

import minillm
from autograd import BackendError, origin

# each a module here, which defines add_parser(subparsers)
COMMANDS = ("train", "generate", "tokenizer", "info", "doctor", "check", "debug")

origin.add_program(__file__)

USER_MISTAKE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the last two as a shell reports SIGINT and SIGPIPE


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `args.run(args)` runs the subcommand it read."""
    parser = argparse.ArgumentParser(prog="minillm", description=minillm.__doc__)
    parser.add_argument("-V", "--version", action="version", version=f"minillm {minillm.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"minillm.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's own); returns its exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes all that warnings hands over
        try:
            args = build_parser().parse_args(argv)
            code: int = args.run(args)
            sys.stdout.flush()  # here, where a closed pipe can still be answered
            return code
        except (minillm.UserError, BackendError) as error:
            print(f"minillm: error: {error}", file=sys.stderr)
            return USER_MISTAKE
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails too
            return BROKEN_PIPE


def _show_warning(message: Warning | str, *_: object) -> None:
    """One line, without the place in the source that Python shows a developer."""
    print(f"minillm: warning: {message}", file=sys.stderr)
