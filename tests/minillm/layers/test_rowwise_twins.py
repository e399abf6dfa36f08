"""Twins of ops that compute each row by itself: shapes of any size, shared by any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_same

from autograd import Op, Tensor, use_backend
from autograd.backends import numba as numba_backend
from autograd.ops import add
from minillm.layers.activations import gelu_tanh
from minillm.layers.embedding import embedding
from minillm.layers.linear import linear

pytest.importorskip("numba")

some = settings(max_examples=25, deadline=None)
sizes = st.integers(1, 20)
thread_counts = st.integers(1, 4)


@contextmanager
def sharing_among(n_threads: int) -> Iterator[None]:
    """Work is cut for so many threads, however many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "_threads", n_threads)
        yield


def check(op: Op, *inputs: object, **attributes: object) -> None:
    """Forward and backward of the twin against the reference's, on normal upstream gradients."""
    y, saved = assert_same(
        lambda *a: op.forward.on("numba")(*a, **attributes), lambda *a: op.forward.reference(*a, **attributes), inputs
    )
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    assert_same(op.backward.on("numba"), op.backward.reference, [dy, *saved])


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


@some
@given(n=sizes, d_in=sizes, d_out=sizes, bias=st.booleans(), n_threads=thread_counts)
def test_linear(n: int, d_in: int, d_out: int, bias: bool, n_threads: int) -> None:
    with sharing_among(n_threads):
        check(linear, normal(n, d_in), normal(d_out, d_in), normal(d_out) if bias else None)


@some
@given(shape=st.lists(sizes, max_size=3), n_threads=thread_counts)
def test_gelu_tanh_and_add(shape: list[int], n_threads: int) -> None:
    with sharing_among(n_threads):
        check(gelu_tanh, 2 * normal(*shape))
        check(add, normal(*shape), np.flip(normal(*shape)).copy())


@some
@given(
    ids=st.lists(st.integers(0, 6)),
    C=sizes,
    dtype=st.sampled_from(["int64", "int32"]),
    n_threads=thread_counts,
)
def test_embedding(ids: list[int], C: int, dtype: str, n_threads: int) -> None:
    with sharing_among(n_threads):
        check(embedding, np.array(ids, dtype), normal(7, C))


def test_embedding_counts_from_the_end_and_raises_as_numpy_does() -> None:
    check(embedding, np.array([-1, 2, -3]), normal(3, 4))
    with use_backend("numba"), pytest.raises(IndexError, match="index 3 is out of bounds"):
        embedding(np.array([3]), normal(3, 4))


def test_add_of_integers_stays_exact() -> None:
    with use_backend("numba"):
        total = Tensor(np.array([2**53])) + Tensor(np.array([1]))
    assert total.data.tolist() == [2**53 + 1]
