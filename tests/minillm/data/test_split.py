import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import split
from minillm.errors import UserError


@given(text=st.text(), fraction=st.floats(0.001, 0.999))
def test_the_parts_join_to_the_whole(text: str, fraction: float) -> None:
    train, validation = split(text, fraction)
    assert train + validation == text
    assert abs(len(validation) - fraction * len(text)) < 1 + 1e-9


def test_arrays_are_split_without_a_copy() -> None:
    tokens = np.arange(10)
    train, validation = split(tokens, 0.25)
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert validation.tolist() == [7, 8, 9]
    assert train.base is tokens


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 10, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        split("abc", fraction)
