"""Two functions of the same arrays that must compute the same, up to rounding: a twin and its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from autograd.gradcheck.arrays import JITTER_ULPS, is_float, jitter, read_only, to_device, to_host
from autograd.gradcheck.tolerance import allowed


def assert_same(function: Callable[..., Any], reference: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Every array that `function` returns, saved ones too, is the reference's in shape, dtype and numbers.

    The arguments are read-only meanwhile. How far numbers may lie apart is measured: by how much the reference's own
    results move when its arguments move by a rounding.

    Returns:
        What `function` returned.
    """
    arguments = [read_only(x) if isinstance(x, np.ndarray) else x for x in arguments]
    result = function(*map(to_device, arguments))
    expected, actual = list(leaves(reference(*map(to_device, arguments)))), list(leaves(result))
    assert len(actual) == len(expected), f"{len(actual)} results, the reference returns {len(expected)}"
    rng, n_terms = np.random.default_rng(0), sum(x.size for x in arguments if hasattr(x, "size"))
    moved = [list(leaves(reference(*(jitter(to_device(x), rng) for x in arguments)))) for _ in range(4)]
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert np.shape(a) == np.shape(e), f"result {i} has shape {np.shape(a)}, the reference's {np.shape(e)}"
        assert getattr(a, "dtype", None) == getattr(e, "dtype", None), f"result {i} has another dtype"
        if not is_float(e):
            np.testing.assert_array_equal(a, e, err_msg=f"result {i}")
            continue
        noise = np.max([np.abs(m[i] - e) for m in moved], axis=0) / JITTER_ULPS
        bound = allowed(str(e.dtype), n_terms, np.abs(e), noise)
        wrong = ~(np.abs(a - e) <= bound)
        assert not wrong.any(), f"result {i} is wrong at {np.argwhere(wrong).tolist()}: {a[wrong]} for {e[wrong]}"
    return result


def leaves(x: Any) -> Iterator[Any]:
    """The arrays, on the host, and other things in nested tuples and lists."""
    if isinstance(x, (tuple, list)):
        for part in x:
            yield from leaves(part)
    else:
        yield to_host(x) if hasattr(x, "shape") else x
