"""The same GPT in plain PyTorch, written apart from ours (after nanoGPT), as the other opinion in parity tests.

Its modules carry our paths as names, so parameters are copied and gradients compared by name. It takes our GPTConfig
for the numbers in it, and shares no code with the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:  # benchmarks use it in a process that imports no minillm
    from minillm import GPT, GPTConfig

ACTIVATIONS = {"relu": nn.ReLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh")}


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.proj = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (a.view(B, T, self.n_head, -1).transpose(1, 2) for a in self.qkv(x).split(C, dim=2))  # (B, H, T, D)
        if key_mask is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        else:
            allowed = torch.ones(T, T, dtype=torch.bool).tril() & key_mask[:, None, None, :]  # (B, 1, T, T)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)  # (B, H, T, D)
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class FeedForward(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.proj = nn.Linear(config.d_ff, config.d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(self.activation(self.fc(x)))


def layer_norm(config: GPTConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.d_model, eps=config.layer_norm_eps, bias=config.bias)


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln1, self.attn = layer_norm(config), Attention(config)
        self.ln2, self.mlp = layer_norm(config), FeedForward(config)

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.attn(self.ln1(x), key_mask)
        return x + self.mlp(self.ln2(x))


class TorchGPT(nn.Module):
    """`logits, loss = model(ids, targets, mask, weights)` on torch tensors; no dropout."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = layer_norm(config)
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.to(getattr(torch, config.dtype))

    def forward(
        self,
        ids: torch.Tensor,
        targets: torch.Tensor,
        mask: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.token_embedding(ids) + self.position_embedding(torch.arange(ids.shape[1]))  # (B, T, C)
        for block in self.blocks:
            x = block(x, mask)
        head = self.token_embedding.weight if self.head is None else self.head.weight  # (V, C)
        logits = self.ln_f(x) @ head.T  # (B, T, V)
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")  # (B*T,)
        w = (targets != -1).to(logits.dtype).flatten()  # (B*T,)
        if weights is not None:
            w = w * weights.flatten()
        return logits, (nll * w).sum() / w.sum()


def torch_copy(model: GPT) -> TorchGPT:
    """A TorchGPT of the model's configuration that holds copies of its parameters."""
    twin = TorchGPT(model.config)
    twin.load_state_dict({name: torch.tensor(p.data) for name, p in model.named_parameters()}, strict=True)
    return twin


def gradients(twin: TorchGPT) -> dict[str, torch.Tensor]:
    """Each parameter's gradient by its path, which is the name of the same parameter in ours."""
    return {name: p.grad for name, p in twin.named_parameters()}
