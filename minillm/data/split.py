"""The train/validation split, as in nanoGPT: the first 90 % is for training, the last 10 % for validation.

The split is by place, not at random, so that no training window overlaps a validation window. A text is split before
it is encoded, so that no character is cut in two; a tokenizer is trained on the whole text, so that the validation
split can be encoded.
"""

from typing import TypeVar

import numpy as np

from minillm.errors import UserError

Data = TypeVar("Data", str, np.ndarray)


def split(data: Data, val_fraction: float = 0.1) -> tuple[Data, Data]:
    """(train, validation): the first int(n * (1 - val_fraction)) characters of a text or tokens of an array; the rest.

    Raises UserError unless 0 < val_fraction < 1.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"the validation fraction is {val_fraction}; it must lie between 0 and 1, such as 0.1")
    n_train = int(len(data) * (1 - val_fraction))
    return data[:n_train], data[n_train:]
