"""Attention by compiled kernels: any shape, tile and number of threads, and memory that is linear in the length."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import peak_bytes
from rounding import assert_same

from autograd import jit, workspace
from autograd.backends import numba
from minillm.layers.attention import attention_backward, attention_forward, compiled

pytest.importorskip("numba")


def normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def run_compiled(B: int, T: int, H: int, D: int) -> tuple[Any, Any]:
    y, saved = compiled.attention_forward_numba(normal(B, T, 3 * H * D), n_head=H, dropout=0.3, dropout_key=(1, 2))
    return y, compiled.attention_backward_numba(normal(*y.shape), *saved)[0]


def check(B: int, T: int, H: int, D: int, **dropout: Any) -> None:
    """Forward and backward, each beside its reference."""
    qkv, dy = normal(B, T, 3 * H * D), normal(B, T, H * D)
    forward, reference = (
        functools.partial(f, n_head=H, **dropout) for f in (compiled.attention_forward_numba, attention_forward)
    )
    _, saved = assert_same(forward, reference, [qkv])
    assert_same(compiled.attention_backward_numba, attention_backward, [dy, *saved])


@given(data=st.data())
def test_tiles_of_any_size_compute_what_the_reference_does(data: st.DataObject) -> None:
    B, T, H, D, tile = (data.draw(st.integers(1, n), name) for name, n in zip("BTHDt", (3, 9, 3, 5, 4), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "TILE", tile)
        patch.setattr(numba, "_threads", data.draw(st.integers(1, 3), "threads"))
        key = data.draw(st.tuples(*2 * [st.integers(0, 2**64 - 1)]), "key")
        check(B, T, H, D, dropout=data.draw(st.sampled_from([0.0, 0.3, 0.9]), "dropout"), dropout_key=key)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(("T", "D"), [(1, 64), (64, 32), (65, 64), (130, 33)])
def test_widths_and_lengths_of_real_models(T: int, D: int, dropout: float) -> None:
    check(2, T, 3, D, dropout=dropout, dropout_key=(0, 7))


def test_two_runs_give_the_same_bits() -> None:
    for first, second in zip(run_compiled(2, 70, 3, 8), run_compiled(2, 70, 3, 8), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.skipif(not jit.ENABLED, reason="AUTOGRAD_JIT=0: such lengths take minutes in Python loops")
def test_memory_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all arrays made: y, saved arrays, gradients and scratch. The scores of one head alone grow fourfold."""

    def bytes_of(T: int) -> int:
        def run() -> None:
            workspace.clear()
            run_compiled(1, T, 2, 8)

        return peak_bytes(run)

    monkeypatch.setattr(numba, "_threads", 2)
    run_compiled(1, 1, 1, 1)  # what is compiled takes memory too
    assert bytes_of(4096) < 2.1 * bytes_of(2048)
    assert bytes_of(2048) < 2048 * 2048 * 4 / 4


@pytest.mark.parametrize("call", [{"causal": False}, {"mask": True, "dropout": 0.3, "dropout_key": (1, 2)}])
def test_what_no_kernel_is_for_is_the_references(call: dict[str, Any]) -> None:
    attributes = {"n_head": 2, **call}
    mask = [np.random.default_rng(0).random((2, 5)) < 0.7] if attributes.pop("mask", False) else []
    qkv, dy = normal(2, 5, 12), normal(2, 5, 4)
    y, saved = compiled.attention_forward_numba(qkv, *mask, **attributes)
    expected, expected_saved = attention_forward(qkv, *mask, **attributes)
    np.testing.assert_array_equal(y, expected)
    dqkv, _ = compiled.attention_backward_numba(dy, *saved)
    np.testing.assert_array_equal(dqkv, attention_backward(dy, *expected_saved)[0])


@pytest.mark.parametrize("size", [1e2, 1e15])
def test_scores_of_any_size_overflow_nowhere(size: float) -> None:
    qkv = size * normal(1, 5, 12)
    y, saved = compiled.attention_forward_numba(qkv, n_head=2)
    np.testing.assert_allclose(y, attention_forward(qkv, n_head=2)[0], rtol=1e-4)
    assert np.isfinite(compiled.attention_backward_numba(normal(1, 5, 4), *saved)[0]).all()
