"""Bits per byte: a loss that does not depend on how text is cut into tokens, so that tokenizers compare.

  bits per byte = nats per token * tokens / bytes / ln 2

A token that stands for much text is harder to predict; per byte of the text the two even out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minillm.errors import UserError
from minillm.tokenizer import Tokenizer
from minillm.tokenizer.base import check_ids

COUNTED_AT_ONCE = 1 << 22  # tokens, which may be memory-mapped


def bits_per_byte_of_nat(tokenizer: Tokenizer, tokens: NDArray[np.integer]) -> float:
    """What turns the mean loss over `tokens` (n,), of which all but the first are predicted, into bits per byte.

    Special tokens stand for no bytes, and must be predicted as others.

    Raises:
        UserError: the tokens stand for no text, or one is not in the vocabulary.
    """
    targets = tokens[1:]  # (n - 1,)
    counts = np.zeros(tokenizer.vocab_size, np.int64)  # (V,)
    for first in range(0, len(targets), COUNTED_AT_ONCE):
        ids = check_ids(targets[first : first + COUNTED_AT_ONCE], len(counts))
        counts += np.bincount(ids, minlength=len(counts))
    counts[list(tokenizer.special_tokens.values())] = 0
    n_bytes = sum(int(counts[id]) * len(tokenizer.decode_bytes([id])) for id in np.flatnonzero(counts))
    if n_bytes == 0:
        raise UserError("the validation data has special tokens only, which stand for no text: give more data")
    return len(targets) / n_bytes / math.log(2)
