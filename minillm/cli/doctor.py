"""`minillm doctor`: whether this machine and this installation can train a model."""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Iterator

import numpy as np

from autograd import BackendError, backends, no_grad, use_backend
from minillm import GPT, GPTConfig

# small enough that all checks take a second; float64, so that finite differences have digits to spare
CONFIG = GPTConfig(vocab_size=64, context_length=16, n_layer=2, n_head=2, d_model=32, dtype="float64")

LOSS_TOLERANCE = 0.02  # of the initial loss from ln V, relative
GRADIENT_TOLERANCE = 1e-6  # of a directional derivative, relative to the norm of the gradient
OVERFIT_LOSS, OVERFIT_STEPS = 0.1, 100

Batch = tuple[np.ndarray, np.ndarray]  # ids (B, T), targets (B, T)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine and installation",
        description="Show the versions, cores, threads and backends found, then train a tiny model: its initial loss, "
        "its gradients and whether it learns one batch by heart. Exit code 1 if a check fails.",
    )
    parser.add_argument("--backend", default="numpy", help="backend to check: numpy or cupy (numpy)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minillm.threads import limit_threads

    failed = False
    with use_backend(args.backend):  # before anything is printed: it may not run here
        for line in _environment():
            print(line)
        with limit_threads():
            ids = np.random.default_rng(0).integers(CONFIG.vocab_size, size=(4, CONFIG.context_length + 1))  # (B, T+1)
            model, batch = GPT(CONFIG), (ids[:, :-1], ids[:, 1:])
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
    """Along a random direction in each parameter, the gradient predicts the change of the loss."""
    rng = np.random.default_rng(0)
    model.zero_grad()
    _, loss = model(*batch)
    assert loss is not None
    loss.backward()
    worst, where = 0.0, "none"
    for path, p in model.named_parameters():
        direction = backends.active().to_device(rng.standard_normal(p.shape))  # of p's shape
        h = 1e-4 / p.size**0.5  # a way of the same length for every parameter
        start, losses = p.data.copy(), []
        for way in (h, -h):
            p.data = start + way * direction
            losses.append(_loss(model, batch))
        p.data = start
        measured = (losses[0] - losses[1]) / (2 * h)
        assert p.grad is not None
        norm = float((p.grad * p.grad).sum()) ** 0.5
        error = abs(float((p.grad * direction).sum()) - measured) / max(norm, 1e-12)
        if not error <= worst:  # NaN is the worst
            worst, where = error, path
    fact = f"gradients of all parameters agree with finite differences to {worst:.1e}, worst in {where}"
    return worst < GRADIENT_TOLERANCE, f"{fact} (below {GRADIENT_TOLERANCE:.0e})"


def check_overfits(model: GPT, batch: Batch) -> tuple[bool, str]:
    """Random tokens, a batch of them, can only be learnt by heart."""
    from minillm.optim import AdamW

    optimizer, steps = AdamW(model, lr=1e-2), 0
    while (loss := _loss(model, batch)) >= OVERFIT_LOSS and steps < OVERFIT_STEPS:
        model.zero_grad()
        _, y = model(*batch)
        assert y is not None
        y.backward()
        optimizer.step()
        steps += 1
    fact = f"loss on one batch is {loss:.4f} after {steps} steps"
    return loss < OVERFIT_LOSS, f"{fact} (below {OVERFIT_LOSS} within {OVERFIT_STEPS})"


def _loss(model: GPT, batch: Batch) -> float:
    with no_grad():
        _, loss = model(*batch)
    assert loss is not None
    return loss.item()
