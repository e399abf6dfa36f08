"""One training step of minillm beside one of PyTorch eager, on the CPU in float32: forward, backward, clip, AdamW.

Each runs in a process of its own, and they take turns: thread pools of two libraries in one process spin against each
other. Both start from the same weights and see the same batch, and their losses after the warm-up's steps are
compared, so that what is timed is the same work.

    python -m benchmarks.bench_step [--threads 2] [--rounds 7] [--steps 20] [--preset shakespeare-char] [--json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from minillm import GPT, GPTConfig
from minillm.optim import AdamW, clip_scale, global_norm
from minillm.threads import available_cores, limit_threads

RESULT = Path(__file__).parent / "results" / "cpu-step.json"
OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}
MAX_NORM = 1.0
LOSS_TOLERANCE = 1e-3  # float32, after some tens of steps


def random_batch(config: GPTConfig, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (2, batch_size, config.context_length)
    ids, targets = np.random.default_rng(0).integers(0, config.vocab_size, shape)  # each (B, T)
    return ids, targets


def numpy_step(config: GPTConfig, batch_size: int, threads: int) -> tuple[Callable[[], float], str]:
    """A function that takes one step and returns its loss, and what it runs on."""
    limit_threads(threads)
    model = GPT(config)
    optimizer = AdamW(model, **OPTIMIZER)
    ids, targets = random_batch(config, batch_size)

    def step() -> float:
        model.zero_grad()
        _, loss = model(ids, targets)
        loss.backward()
        optimizer.step(clip_scale(float(global_norm([model.flat.grad])), MAX_NORM))
        return loss.item()

    return step, f"numpy {np.__version__}"


def torch_step(config: GPTConfig, batch_size: int, threads: int) -> tuple[Callable[[], float], str]:
    """The same in PyTorch eager."""
    import torch

    from tests.parity.torch_gpt import torch_copy

    torch.set_num_threads(threads)
    model = GPT(config)
    twin = torch_copy(model)
    decayed = {name for name, p in model.named_parameters() if p.role == "weight"}
    groups = [
        {"params": [p for name, p in twin.named_parameters() if name in decayed]},
        {"params": [p for name, p in twin.named_parameters() if name not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **OPTIMIZER)
    ids, targets = map(torch.from_numpy, random_batch(config, batch_size))

    def step() -> float:
        optimizer.zero_grad()
        _, loss = twin(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), MAX_NORM)
        optimizer.step()
        return loss.item()

    return step, f"torch {torch.__version__}"


STEPS = {"minillm": numpy_step, "torch": torch_step}


def worker(connection: Connection, name: str, config: GPTConfig, batch_size: int, threads: int) -> None:
    """Answer each number n received with the seconds of n steps and the last loss, until 0 comes."""
    step, version = STEPS[name](config, batch_size, threads)
    connection.send(version)
    while n := connection.recv():
        seconds, loss = [], float("nan")
        for _ in range(n):
            start = time.perf_counter()
            loss = step()
            seconds.append(time.perf_counter() - start)
        connection.send((seconds, loss))


def measure(names: list[str], args: argparse.Namespace, config: GPTConfig) -> dict[str, dict[str, Any]]:
    """For each name: its version, the median milliseconds of each round, and the loss after the warm-up."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)  # read when they are loaded
    context = multiprocessing.get_context("spawn")
    connections, processes, results = {}, [], {}
    for name in names:
        connections[name], theirs = context.Pipe()
        process = context.Process(
            target=worker, args=(theirs, name, config, args.batch_size, args.threads), daemon=True
        )
        process.start()
        theirs.close()  # so that a worker that dies is an EOFError here, not a wait for ever
        processes.append(process)
        results[name] = {"version": connections[name].recv(), "ms": []}
    for i in range(args.rounds + 1):
        for name, connection in connections.items():
            connection.send(args.steps)
            seconds, loss = connection.recv()
            if i == 0:  # the first round warms up
                results[name]["loss"] = loss
            else:
                results[name]["ms"].append(1e3 * statistics.median(seconds))
    for connection, process in zip(connections.values(), processes, strict=True):
        connection.send(0)
        process.join()
    return results


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="shakespeare-char")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="of each, taking turns, after one to warm up")
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--json", action="store_true", help=f"write {RESULT.relative_to(Path(__file__).parent.parent)}")
    args = parser.parse_args()

    config = GPTConfig.preset(args.preset)
    has_torch = importlib.util.find_spec("torch") is not None
    results = measure(list(STEPS) if has_torch else ["minillm"], args, config)

    print(f"{args.preset}, batch {args.batch_size} x {config.context_length}, float32: forward, backward, clip, AdamW")
    print(f"{cpu_model()}, {available_cores()} cores, {args.threads} threads each, Python {platform.python_version()}")
    print(f"median of {args.rounds} interleaved rounds of {args.steps} steps\n")
    print(f"{'':10} {'ms/step':>8} {'min':>8} {'max':>8}   version")
    for name, result in results.items():
        result["median_ms"] = statistics.median(result["ms"])
        low, high = min(result["ms"]), max(result["ms"])
        print(f"{name:10} {result['median_ms']:8.2f} {low:8.2f} {high:8.2f}   {result['version']}")
    report = {
        "preset": args.preset,
        "batch_size": args.batch_size,
        "threads": args.threads,
        "steps_per_round": args.steps,
        "cpu": cpu_model(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "results": results,
    }
    if has_torch:
        ours, theirs = results["minillm"], results["torch"]
        difference = abs(ours["loss"] - theirs["loss"])
        if difference > LOSS_TOLERANCE:
            print(f"\nthe losses differ by {difference:.2g} after the same steps: this is not the same work")
            return 1
        report["ratio"] = ours["median_ms"] / theirs["median_ms"]
        print(f"\nminillm takes {report['ratio']:.2f}x the time of PyTorch eager; losses agree to {difference:.1g}")
    else:
        print("\nPyTorch is not installed, so there is nothing to compare with: make .venv/torch")
    if args.json:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {RESULT}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
