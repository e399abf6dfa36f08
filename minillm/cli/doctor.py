"""`minillm doctor`: whether this machine and this installation can train a model."""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from autograd import BackendError, backends, no_grad, use_backend
from autograd.gradcheck import GradcheckError, gradcheck
from minillm import GPT, GPTConfig
from minillm.cli.backend import add_backend_flag, choose_backend, compile_kernels

# small enough that all checks take a second; float64, so that differences have digits to spare
CONFIG = GPTConfig(vocab_size=64, context_length=8, n_layer=2, n_head=2, d_model=16, dtype="float64")

LOSS_TOLERANCE = 0.02  # of the initial loss from ln V, relative
OVERFIT_LOSS, OVERFIT_STEPS = 0.1, 100

Batch = tuple[np.ndarray, np.ndarray]  # ids (B, T), targets (B, T)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine and installation",
        description="Show the versions, cores, threads and backends found, then train a tiny model: its initial loss, "
        "its gradients and whether it learns one batch by heart. Exit code 1 if a check fails.",
    )
    add_backend_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minillm.threads import limit_threads
    from minillm.train.warm_up import warm_up

    failed, backend = False, choose_backend(args.backend)
    config = replace(CONFIG, dtype="float32") if backend == "numba" else CONFIG  # what its kernels are compiled for
    with use_backend(backend):  # before anything is printed: it may not run here
        for line in _environment():
            print(line)
        with limit_threads(1):  # the model is tiny: more threads would wait for each other
            compile_kernels(lambda: warm_up(config))
            ids = np.random.default_rng(0).integers(config.vocab_size, size=(4, config.context_length + 1))  # (B, T+1)
            model, batch = GPT(config), (ids[:, :-1], ids[:, 1:])
            for check in (check_initial_loss, check_gradients, check_overfits):  # in this order: the last one trains
                passed, fact = check(model, batch)
                print(f"{'PASS' if passed else 'FAIL'}  {fact}")
                failed = failed or not passed
    return int(failed)


def _environment() -> Iterator[str]:
    """What there is, a line each; nothing here can fail a check."""
    from minillm.threads import available_cores, blas_libraries, blas_threads

    yield f"python   {platform.python_version()} on {platform.platform()}"
    yield f"BLAS     {', '.join(blas_libraries()) or 'not known to threadpoolctl'}"
    cores, threads = available_cores(), blas_threads()
    note = f"; minillm limits it to {cores}, more would be slower" if threads > cores else ""
    yield f"cores    {cores} available, BLAS set to {threads} threads{note}"
    for name in backends.BACKENDS:
        try:
            yield f"backend  {backends.load(name).describe()}"
        except BackendError as error:
            yield f"backend  {name} is not available: {error}"


def check_initial_loss(model: GPT, batch: Batch) -> tuple[bool, str]:
    """An untrained model knows nothing, so each of V tokens is as likely: the loss is ln V."""
    loss, expected = _loss(model, batch), math.log(model.config.vocab_size)
    passed = abs(loss / expected - 1) < LOSS_TOLERANCE
    return passed, f"initial loss is {loss:.4f}, ln V is {expected:.4f} (within {LOSS_TOLERANCE:.0%})"


def check_gradients(model: GPT, batch: Batch) -> tuple[bool, str]:
    """Along a random direction in each parameter, the gradient is what `gradcheck` finds in other ways."""
    try:
        report = gradcheck(model, batch, directions=1)
    except GradcheckError as error:
        if error.report is None:
            return False, f"gradients cannot be checked: {error}"
        wrong = sorted((row.of_bound, row.name) for row in error.report.rows if row.failure)
        ops = ", ".join(op.target for op in error.report.at_fault or ()) or "none alone: run minillm check"
        return False, f"gradients of {len(wrong)} parameters are wrong, worst in {wrong[-1][1]}; op at fault: {ops}"
    worst = max(report.rows, key=lambda row: row.of_bound)
    fact = f"gradients of all parameters agree with {', '.join(worst.errors)} to {report.worst():.1e}"
    return True, f"{fact}, worst in {worst.name} ({worst.of_bound:.0%} of what rounding explains)"


def check_overfits(model: GPT, batch: Batch) -> tuple[bool, str]:
    """Random tokens, a batch of them, can only be learnt by heart."""
    from minillm.optim import AdamW

    optimizer, steps = AdamW(model, lr=1e-2), 0
    while (loss := _loss(model, batch)) >= OVERFIT_LOSS and steps < OVERFIT_STEPS:
        model.zero_grad()
        model.loss(*batch).backward()
        optimizer.step()
        steps += 1
    fact = f"loss on one batch is {loss:.4f} after {steps} steps"
    return loss < OVERFIT_LOSS, f"{fact} (below {OVERFIT_LOSS} within {OVERFIT_STEPS})"


def _loss(model: GPT, batch: Batch) -> float:
    with no_grad():
        return model.loss(*batch).item()
