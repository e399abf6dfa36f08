"""scatter_add of the backends: the sum that an embedding's gradient is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autograd.backends import load


@given(
    ids=st.lists(st.integers(0, 4)),
    width=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
    id_dtype=st.sampled_from(["int64", "int32", "uint16", "uint8"]),
)
def test_scatter_add_adds_up_the_rows_of_equal_ids_in_any_order(
    ids: list[int], width: int, dtype: str, id_dtype: str
) -> None:
    rows = np.random.default_rng(0).integers(-9, 9, (len(ids), width)).astype(dtype)  # sums of these are exact
    expected = np.zeros((5, width), dtype)
    np.add.at(expected, ids, rows)
    total = load("numpy").scatter_add(5, np.array(ids, id_dtype), rows)
    np.testing.assert_array_equal(total, expected, strict=True)
