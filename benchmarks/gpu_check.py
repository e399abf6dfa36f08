"""Check minillm on this machine's GPU through CuPy: `make gpu-check`.

Every case of tests/cases.py on the device against NumPy, the gradients of a whole model against the CPU's, then 200
training steps. What came out is written to benchmarks/results/<device>.json; exit code 1 if something differs, 2
without a GPU.

    python -m benchmarks.gpu_check [--steps 200]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from autograd import BackendError, Stream, backends, use_backend, use_stream
from minillm import GPT, GPTConfig
from minillm.optim import AdamW, clip_scale, global_norm

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}  # relative to the largest element


def to_device(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(to_device(part) for part in x)
    return backends.active().to_device(x) if isinstance(x, np.ndarray) else x


def difference(device: Any, host: Any) -> float:
    """Largest difference, relative to the largest element; infinite where shapes or NaNs differ."""
    got, expected = np.asarray(backends.active().to_host(device)), np.asarray(host)
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30))


def check_ops(dtype: str) -> dict[str, str]:
    """What is wrong with each case that does not give NumPy's result on the device."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cases import CASES

    wrong = {}
    for case in CASES:
        try:
            worst = op_difference(case, dtype)
        except Exception as error:  # a case that fails must not hide the others
            wrong[str(case)] = f"{type(error).__name__}: {error}"
        else:
            if worst > TOLERANCE[dtype]:
                wrong[str(case)] = f"differs by {worst:.1e}"
    print(f"ops in {dtype}: {len(CASES) - len(wrong)} of {len(CASES)} cases equal NumPy's")
    return wrong


def op_difference(case: Any, dtype: str) -> float:
    """The largest difference between device and NumPy in a case's output and gradients."""
    inputs = case.make(dtype)
    y, saved = case.run(inputs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(np.shape(y)).astype(y.dtype))
    attributes = {name: to_device(value) for name, value in case.attributes.items()}
    device_y, device_saved = case.run([to_device(x) for x in inputs], **attributes)
    worst = difference(device_y, y)
    pairs = zip(case.backward(to_device(dy), device_saved), case.backward(dy, saved), strict=True)
    return max([worst, *(difference(got, expected) for got, expected in pairs if expected is not None)])


def gradient(name: str, dtype: str) -> Any:
    """All gradients of a small model with dropout and padding, on one backend, as a host array."""
    overrides = {"dropout": 0.1, "n_layer": 2, "dtype": dtype}
    ids, targets = np.random.default_rng(0).integers(0, 65, (2, 4, 64))  # each (B, T)
    mask = np.ones(ids.shape, bool)
    mask[1, 50:] = False
    with use_backend(name), use_stream(Stream(seed=2)):  # the same dropout masks on both
        model = GPT(GPTConfig.preset("shakespeare-char", **overrides), seed=1)
        _, loss = model(ids, targets, mask=mask)
        assert loss is not None
        loss.backward()
        return np.array(backends.active().to_host(model.flat.grad))


def train(steps: int) -> dict[str, float]:
    """nanoGPT's character model on text of this project's own sources, on the device."""
    text = np.frombuffer(b"".join(p.read_bytes() for p in sorted((ROOT / "minillm").rglob("*.py"))), np.uint8)
    config = GPTConfig.preset("python-tiny")
    T, B, rng = config.context_length, 12, np.random.default_rng(0)
    model = GPT(config)
    optimizer = AdamW(model, lr=1e-3, betas=(0.9, 0.99))
    losses = []
    start = time.perf_counter()
    for step in range(steps):
        if step == steps // 10:  # CuPy compiles its kernels on first use
            losses[-1].item()
            start = time.perf_counter()
        starts = rng.integers(0, len(text) - T - 1, B)
        windows = text[starts[:, None] + np.arange(T + 1)].astype(np.int64)  # (B, T+1)
        model.zero_grad()
        _, loss = model(windows[:, :-1], windows[:, 1:])
        assert loss is not None
        loss.backward()
        optimizer.step(clip_scale(float(global_norm([model.flat.grad])), 1.0))
        losses.append(loss.detach())
    last = losses[-1].item()
    seconds = time.perf_counter() - start
    values = [loss.item() for loss in losses]
    n_tokens = (steps - steps // 10) * B * T
    return {
        "steps": steps,
        "first_loss": values[0],
        "last_loss": float(np.mean(values[-10:])) if np.isfinite(last) else last,
        "tokens_per_second": round(n_tokens / seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="training steps, at least 20 (default: 200)")
    steps = max(20, parser.parse_args().steps)
    try:
        with use_backend("cupy"):
            device = backends.active().describe()
            wrong = {f"{dtype}, {case}": what for dtype in TOLERANCE for case, what in check_ops(dtype).items()}
            gradients = {}
            for dtype, tolerance in TOLERANCE.items():
                gradients[dtype] = difference(to_device(gradient("cupy", dtype)), gradient("numpy", dtype))
                print(f"gradients of a whole model in {dtype}: differ by {gradients[dtype]:.1e} from the CPU's")
                if not gradients[dtype] <= tolerance:
                    wrong[f"{dtype}, gradients of the model"] = f"differ by {gradients[dtype]:.1e}"
            training = train(steps)
    except BackendError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    print(
        f"{steps} steps: loss {training['first_loss']:.3f} -> {training['last_loss']:.3f}, "
        f"{training['tokens_per_second']:,} tokens/s"
    )
    if not training["last_loss"] < training["first_loss"] - 1:
        wrong["training"] = "the loss did not go down by 1"
    for name, what in wrong.items():
        print(f"WRONG  {name}: {what}", file=sys.stderr)
    write(device, {"wrong": wrong, "gradient_difference": gradients, "training": training})
    return 1 if wrong else 0


def write(device: str, results: dict[str, Any]) -> None:
    """Results and what they were measured with, to a file named after the device."""
    versions = {"minillm": minillm.__version__, "numpy": np.__version__, "python": platform.python_version()}
    path = RESULTS / f"{re.sub('[^a-z0-9]+', '-', device.split(', ')[-1].lower()).strip('-')}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"device": device, **versions, **results}, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
