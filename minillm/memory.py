"""The bytes of memory that training a model takes, by formula alone."""

from __future__ import annotations

import numpy as np

from minillm.config import GPTConfig

_INT, _BOOL = 8, 1  # bytes of a token id, and of an element of a mask


def activation_bytes(config: GPTConfig, batch_size: int) -> int:
    """Bytes that a forward pass at full context saves for backward: what hangs on the tape, without the weights."""
    assert config.d_ff is not None
    B, T, C, F, V = batch_size, config.context_length, config.d_model, config.d_ff, config.vocab_size
    N, number = B * T, np.dtype(config.dtype).itemsize
    norm = N * (2 * C + 2) * number  # its input, mean and rstd, and its output, which the linear layer after it keeps
    attention = N * 4 * C * number  # queries, keys, values; the projection's input
    activation = _BOOL if config.activation == "relu" else 2 * number  # where positive, or input and its tanh or cdf
    feed_forward = N * F * (activation + number)  # and the projection's input
    embedding = (N + T) * _INT  # ids and positions
    loss = N * V * number + N * (number + _INT)  # probs; share and target of each token
    return embedding + config.n_layer * (2 * norm + attention + feed_forward) + norm + loss


def training_bytes(config: GPTConfig, batch_size: int) -> dict[str, int]:
    """Bytes that training keeps from step to step, and from forward to backward; passing intermediates add to it."""
    weights = config.n_params() * np.dtype(config.dtype).itemsize
    return {
        "weights": weights,
        "gradients": weights,
        "AdamW": 2 * weights,  # first and second moments
        "activations": activation_bytes(config, batch_size),
    }
