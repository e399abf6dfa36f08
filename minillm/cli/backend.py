"""The flags --backend and --threads, and kernels that are compiled before work begins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tqdm import tqdm

from autograd import BackendError, backends, jit, modes
from minillm.train.interrupt import interruptible


def add_backend_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", help=f"{', '.join(backends.BACKENDS)} (numba, or numpy where numba cannot run)", metavar="NAME"
    )


def add_threads_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="threads to compute on (the available cores)")


def choose_backend(name: str | None) -> str:
    """The backend that was asked for, or else numba; numpy, with a line that says why, where numba cannot run."""
    if name is not None:
        return name
    try:
        backends.load("numba")
    except BackendError as error:
        print(f"minillm: using the backend numpy, which is slower: {error}", file=sys.stderr)
        return "numpy"
    return "numba"


def compile_kernels(run: Callable[[], object]) -> None:
    """Under numba, call `run`, which uses every kernel that will be needed, and show how many had to be compiled.

    Raises:
        KeyboardInterrupt: as `show_compiling`.
    """
    if modes.backend_name.get() == "numba":
        show_compiling(run)


def show_compiling(run: Callable[[], object]) -> None:
    """Call `run` and show how many kernels had to be compiled for it.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the kernel it came in is done: inside of numba it may get lost.
    """
    form = "{desc}: {n} in {elapsed}"
    with (
        interruptible() as interrupted,
        tqdm(desc="compiling kernels, once", bar_format=form, file=sys.stderr, delay=0.5, leave=False) as bar,
    ):

        def compiled(_: str) -> None:
            bar.update()
            if interrupted.is_set():
                raise KeyboardInterrupt

        with jit.watch_compiling(compiled):
            run()
    if interrupted.is_set():
        raise KeyboardInterrupt
