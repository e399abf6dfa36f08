"""The matrix products of a training step, and how long BLAS takes for them alone: the floor under a step's time.

Each linear layer has three (y, dx, dweight) and attention six. Attention's count in full in the FLOPs, as they do in
`GPTConfig.flops_per_token`, and by the share that a causal mask leaves in the floor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tasks import Task
from benchmarks.worker import Work, resident_mb

REPEAT_SECONDS = 0.05  # a small product is repeated for so long in each unit, and the best time counts


@dataclass(frozen=True)
class Gemm:
    """`count` times in a step: (m, k) @ (k, n), `batch` of them side by side.

    Args:
        transposed: the operand that lies transposed in memory: "a", "b" or "".
        share: the part of the product that is needed.
    """

    name: str
    m: int
    n: int
    k: int
    transposed: str
    count: int
    batch: int = 1
    share: float = 1.0

    @property
    def flops(self) -> int:
        """Floating-point operations of all `count` of them, in full."""
        return 2 * self.m * self.n * self.k * self.batch * self.count


def step_gemms(task: Task) -> list[Gemm]:
    """The products of one training step of a tied GPT with d_ff = 4 d_model."""
    shape = task.shape
    L, H, C, T, V = (shape[key] for key in ("n_layer", "n_head", "d_model", "context_length", "vocab_size"))
    N, D = task.size * T, C // H
    causal = {"batch": task.size * H, "count": L, "share": (T + 1) / (2 * T)}
    return [
        *_linear("qkv", N, C, 3 * C, L),
        *_linear("proj", N, C, C, L),
        *_linear("fc", N, C, 4 * C, L),
        *_linear("mlp.proj", N, 4 * C, C, L),
        *_linear("head", N, C, V, 1),
        Gemm("scores", T, T, D, "b", **causal),  # q k^T
        Gemm("mixed", T, D, T, "", **causal),  # probs v
        Gemm("dprobs", T, T, D, "b", **causal),  # dy v^T
        Gemm("dv", T, D, T, "a", **causal),  # probs^T dy
        Gemm("dq", T, D, T, "", **causal),  # dscores k
        Gemm("dk", T, D, T, "a", **causal),  # dscores^T q
    ]


def _linear(name: str, n_rows: int, d_in: int, d_out: int, count: int) -> list[Gemm]:
    return [
        Gemm(name, n_rows, d_out, d_in, "b", count),  # y = x weight^T
        Gemm(f"{name} dx", n_rows, d_in, d_out, "", count),  # dx = dy weight
        Gemm(f"{name} dweight", d_out, d_in, n_rows, "a", count),  # dweight = dy^T x
    ]


def floor_seconds(gemms: Iterable[Gemm], seconds: Iterable[list[float]]) -> float:
    """The time of all products of a step, each at the best time that any library took for it.

    Args:
        seconds: one list for each library, of seconds of one product of each of `gemms`.
    """
    best = [min(times) for times in zip(*seconds, strict=True)]
    return math.fsum(gemm.count * gemm.share * time for gemm, time in zip(gemms, best, strict=True))


def numpy_gemms(task: Task, threads: int, weights: Path) -> Work:
    """NumPy's BLAS; `unit` gives the best seconds so far of each product."""
    import numpy as np

    from autograd import BackendError, backends
    from minillm.threads import blas_libraries, limit_threads

    with suppress(BackendError):
        backends.load("numba")  # which has BLAS take the fastest of its kernels
    limit_threads(threads)
    before = resident_mb()
    rng = np.random.default_rng(0)

    def prepare(gemm: Gemm) -> Callable[[], Any]:
        a, b = (rng.standard_normal(size, np.float32) for size in _stored(gemm))
        a, b = (x.swapaxes(-1, -2) if side == gemm.transposed else x for side, x in (("a", a), ("b", b)))
        out = a @ b
        return lambda: np.matmul(a, b, out=out)

    return Work(_best_of(map(prepare, step_gemms(task))), ", ".join(blas_libraries()), before)


def torch_gemms(task: Task, threads: int, weights: Path) -> Work:
    """The same with PyTorch's (MKL or oneDNN, as it chooses)."""
    import torch

    torch.set_num_threads(threads)
    before = resident_mb()

    def prepare(gemm: Gemm) -> Callable[[], Any]:
        a, b = (torch.randn(size) for size in _stored(gemm))
        a, b = (x.transpose(-1, -2) if side == gemm.transposed else x for side, x in (("a", a), ("b", b)))
        out = a @ b
        return lambda: torch.matmul(a, b, out=out)

    return Work(_best_of(map(prepare, step_gemms(task))), f"torch {torch.__version__}", before)


def _stored(gemm: Gemm) -> list[tuple[int, ...]]:
    """The shapes of both operands as they lie in memory."""
    batch = (gemm.batch,) if gemm.batch > 1 else ()
    a, b = (gemm.m, gemm.k), (gemm.k, gemm.n)
    return [
        (*batch, *(a[::-1] if gemm.transposed == "a" else a)),
        (*batch, *(b[::-1] if gemm.transposed == "b" else b)),
    ]


def _best_of(products: Iterable[Callable[[], Any]]) -> Callable[[], list[float]]:
    prepared = list(products)
    best = [math.inf] * len(prepared)

    def unit() -> list[float]:
        for i, product in enumerate(prepared):
            end = time.perf_counter() + REPEAT_SECONDS
            while (start := time.perf_counter()) < end:
                product()
                best[i] = min(best[i], time.perf_counter() - start)
        return best

    return unit
