"""A wrong backward of attention, the bug of a published NumPy GPT, which trains with it and passes its own tests."""

from __future__ import annotations

from typing import Any

from minillm.layers.attention import attention_backward, attention_probs, split_heads


def transposed_dk(dy: Any, qkv: Any, y: Any, mask: Any, *attributes: Any) -> Any:
    """`dscores @ q` where `dscores.T @ q` belongs, all else right; without dropout."""
    dqkv = attention_backward(dy, qkv, y, mask, *attributes)[0].copy()  # (B, T, 3C)
    n_head, causal, *_ = attributes
    q, k, v = split_heads(qkv, n_head)  # each (B, H, T, D)
    B, H, T, D = q.shape
    probs = attention_probs(q, k, mask, causal)  # (B, H, T, T)
    dprobs = dy.reshape(B, T, H, D).transpose(0, 2, 1, 3) @ v.swapaxes(-1, -2)  # (B, H, T, T)
    dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True)) / D**0.5  # (B, H, T, T)
    dqkv.reshape(B, T, 3, H, D)[:, :, 1] = (dscores @ q).transpose(0, 2, 1, 3)
    return dqkv, None
