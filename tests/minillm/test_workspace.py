"""Under "numba", once it has run, a training step makes no array above 64 KB, nor does evaluation or a token."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from autograd import jit, no_grad, use_backend, workspace
from minillm import GPT, GPTConfig
from minillm.kv_cache import KVCache
from minillm.tokenizer import ByteTokenizer
from minillm.train.config import TrainConfig
from minillm.train.loop import Trainer, evaluate

pytest.importorskip("numba")
compiled = pytest.mark.skipif(not jit.ENABLED, reason="AUTOGRAD_JIT=0: these sizes take hours in Python loops")

T, C, B = 128, 128, 132  # more tokens, and so losses of one each, than LIMIT has floats
CONFIG = GPTConfig(vocab_size=256, context_length=T, n_layer=1, n_head=2, d_model=C)
TOKENS = np.random.default_rng(0).integers(256, size=40_000).astype(np.uint16)  # a file of tokens has this dtype
LIMIT = workspace.SMALLEST


def large_allocations(run: Callable[[], object]) -> dict[str, int]:
    """Where `run` takes more than LIMIT bytes at once, "file:line", and how many.

    A table of the interpreter's, of names say, may grow by megabytes while it runs, whichever thread makes it grow: but
    not each time, so that only what was taken in each of three runs is `run`'s own.
    """
    found = _allocations(run)
    for _ in range(2):
        again = _allocations(run) if found else {}
        found = {place: taken for place, taken in found.items() if place in again}
    return found


def _allocations(run: Callable[[], object]) -> dict[str, int]:
    """Those of one run.

    tracemalloc counts NumPy's arrays. It is read after every instruction of Python, so that an array is seen even if
    it is gone with the next one, as the terms of a sum are; a look at the end, or from line to line, would miss it.
    """
    found: dict[str, int] = {}
    before, place = 0, ""

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal before, place
        frame.f_trace_opcodes = True
        taken = tracemalloc.get_traced_memory()[1] - before  # by the instruction before this one
        if taken > LIMIT:
            found[place] = max(taken, found.get(place, 0))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return look

    tracer = sys.gettrace()
    tracemalloc.start()
    try:
        sys.settrace(look)
        run()
    finally:
        sys.settrace(tracer)
        tracemalloc.stop()
    return found


@pytest.fixture(autouse=True)
def on_numba() -> Iterator[None]:
    workspace.clear()
    with use_backend("numba"):
        yield
    workspace.clear()


def test_large_allocations_are_seen() -> None:
    n = LIMIT // 8
    x = np.ones(n + 1)

    def run() -> None:
        np.empty(n - 100)
        x.sum()
        x.copy().sum()
        (2 * x).sum() + workspace.empty((n,)).size

    first = run.__code__.co_firstlineno
    places = [int(place.rsplit(":", 1)[1]) - first for place in large_allocations(run)]
    assert places == [3, 4]
    run()
    assert len(large_allocations(lambda: workspace.empty((n,)))) == 0


@compiled
@pytest.mark.parametrize(
    ("changes", "grad_accum"),
    [({}, 2), ({"tie_embeddings": False, "bias": False}, 1), ({"dropout": 0.2}, 2)],
    ids=str,
)
def test_a_training_step_takes_no_large_array(changes: dict[str, Any], grad_accum: int, tmp_path: Path) -> None:
    model = GPT(GPTConfig(**{**vars(CONFIG), **changes}))
    config = TrainConfig(steps=10, batch_size=B, grad_accum=grad_accum)
    trainer = Trainer(model, ByteTokenizer(), TOKENS, TOKENS, config, tmp_path)
    trainer.update()
    assert large_allocations(trainer.update) == {}


@compiled
def test_evaluation_takes_no_large_array() -> None:
    model = GPT(CONFIG)
    tokens = TOKENS[:10_000]
    evaluate(model, tokens)
    assert large_allocations(lambda: evaluate(model, tokens)) == {}


@compiled
def test_a_token_takes_no_large_array() -> None:
    config = GPTConfig(vocab_size=1000, context_length=4096, n_layer=1, n_head=2, d_model=C)
    model, prompt = GPT(config), np.arange(1000)[None]
    with no_grad():
        cache = KVCache(config, 1, like=model.flat.data)
        for ids in (prompt, prompt[:, :1]):
            model(ids, cache=cache)
        assert large_allocations(lambda: model(prompt[:, :1], cache=cache)) == {}


def test_a_block_is_free_when_no_array_lies_in_it() -> None:
    first = workspace.empty((LIMIT,))
    address = first.ctypes.data
    view = first[1:3].reshape(1, 2)
    del first
    assert workspace.empty((LIMIT,)).ctypes.data != address  # a view lies there
    del view
    assert workspace.empty((2, LIMIT // 2)).ctypes.data == address
