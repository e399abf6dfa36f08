"""GPT: a decoder-only transformer with learned positions and pre-norm blocks. Radford et al. 2019.

x = tokens + positions
x = x + attn(ln1(x));  x = x + mlp(ln2(x))        in each block
logits = head(ln_f(x))
"""

from __future__ import annotations

import numpy as np

from autograd import Tensor, backends, modes
from autograd.backends import Array
from minillm.config import GPTConfig
from minillm.errors import UserError
from minillm.kv_cache import KVCache
from minillm.layers import CausalSelfAttention, Dropout, Embedding, FeedForward, LayerNorm, Linear
from minillm.layers.activations import gelu_tanh
from minillm.layers.attention import LayerCache
from minillm.layers.attention_half import attention_half
from minillm.layers.cross_entropy import IGNORE_INDEX, cross_entropy
from minillm.layers.feed_forward_half import feed_forward_half
from minillm.layers.head_loss import head_loss
from minillm.layers.layernorm import layernorm_forward
from minillm.layers.linear import linear
from minillm.layers.token_step import cached_block, one_kernel
from minillm.module import Module, zero_grads

INIT_STD = 0.02


def _norm(config: GPTConfig) -> LayerNorm:
    return LayerNorm(config.d_model, bias=config.bias, eps=config.layer_norm_eps, dtype=config.dtype)


class Block(Module):
    """Attention, then feed-forward, each on a normalised copy of the residual stream and added to it."""

    def __init__(self, config: GPTConfig, rng: np.random.Generator) -> None:
        assert config.d_ff is not None
        # GPT-2 scales the layers that write to the residual stream, so that its variance does not grow with depth
        proj_std = INIT_STD / (2 * config.n_layer) ** 0.5
        self.ln1 = _norm(config)
        self.attn = CausalSelfAttention(
            config.d_model,
            config.n_head,
            bias=config.bias,
            dropout=config.dropout,
            proj_std=proj_std,
            rng=rng,
            dtype=config.dtype,
        )
        self.ln2 = _norm(config)
        self.mlp = FeedForward(
            config.d_model,
            config.d_ff,
            activation=config.activation,
            bias=config.bias,
            proj_std=proj_std,
            rng=rng,
            dtype=config.dtype,
        )
        self.dropout = Dropout(config.dropout)

    def __call__(self, x: Tensor, mask: Array | None = None, cache: LayerCache | None = None) -> Tensor:
        """x (B, T, C) -> (B, T, C)."""
        return self._feed_forward_half(self._attention_half(x, mask, cache))

    def _attention_half(self, x: Tensor, mask: Array | None, cache: LayerCache | None) -> Tensor:
        """x + attn(ln1(x)), in one piece where the backend has a kernel for it."""
        norm, attn = self.ln1, self.attn
        drops = self.training and self.dropout.p
        if mask is None and cache is None and not drops and self._keeps_attention:
            qkv, proj = attn.qkv, attn.proj
            fused = (x, norm.weight, norm.bias, qkv.weight, qkv.bias, proj.weight, proj.bias)
            if attention_half.has_twin(*fused):
                return attention_half(*fused, n_head=attn.n_head, eps=norm.eps)
        return x + self.dropout(self.attn(self.ln1(x), mask, cache))

    def _feed_forward_half(self, x: Tensor) -> Tensor:
        """x + mlp(ln2(x)), in one piece where the backend has a kernel for it."""
        norm, mlp = self.ln2, self.mlp
        drops = self.training and self.dropout.p
        if not drops and self._keeps_feed_forward and mlp.activation is gelu_tanh:
            fc, proj = mlp.fc, mlp.proj
            fused = (x, norm.weight, norm.bias, fc.weight, fc.bias, proj.weight, proj.bias)
            if feed_forward_half.has_twin(*fused):
                return feed_forward_half(*fused, eps=norm.eps)
        return x + self.dropout(self.mlp(self.ln2(x)))

    @property
    def _keeps_attention(self) -> bool:
        """Whether its modules are those it was made with, none replaced by one that computes something else."""
        attn = self.attn
        attends = type(self.ln1) is LayerNorm and type(attn) is CausalSelfAttention
        return attends and type(attn.qkv) is type(attn.proj) is Linear

    @property
    def _keeps_feed_forward(self) -> bool:
        mlp = self.mlp
        feeds = type(self.ln2) is LayerNorm and type(mlp) is FeedForward
        return feeds and type(mlp.fc) is type(mlp.proj) is Linear

    @property
    def keeps_its_parts(self) -> bool:
        """Whether `token_step` computes what `__call__` does."""
        return self._keeps_attention and self._keeps_feed_forward

    def token_step(self, x: Array, cache: LayerCache) -> Array:
        """The same for an array x (B, 1, C), as one kernel where it has a twin."""
        layers = (self.ln1, self.attn.qkv, self.attn.proj, self.ln2, self.mlp.fc, self.mlp.proj)
        arrays = [None if p is None else p.data for layer in layers for p in (layer.weight, layer.bias)]
        attributes = {"length": cache.length, "n_head": self.attn.n_head, "eps": self.ln1.eps}
        y: Array = cached_block.on(backends.name_of(x))(x, cache.keys, cache.values, *arrays, **attributes)
        return y


class GPT(Module):
    """The model, on the backend that is switched on while it is made.

    Args:
        config: its shape.
        seed: of the initial weights, which are the same on every backend: N(0, 0.02), N(0, 0.02 / sqrt(2 n_layer))
            where a layer writes to the residual stream, zero for biases, one for norms.
    """

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.token_embedding = Embedding(config.vocab_size, config.d_model, std=INIT_STD, rng=rng, dtype=config.dtype)
        self.position_embedding = Embedding(
            config.context_length, config.d_model, std=INIT_STD, rng=rng, dtype=config.dtype
        )
        self.dropout = Dropout(config.dropout)
        self.blocks = [Block(config, rng) for _ in range(config.n_layer)]
        self.ln_f = _norm(config)
        self.head: Linear | None = None  # None: tied, the token embedding is the head's weight
        if not config.tie_embeddings:
            self.head = Linear(config.d_model, config.vocab_size, bias=False, rng=rng, dtype=config.dtype)
        self.flat = self.flatten()

    def __call__(
        self,
        ids: Array,
        targets: Array | None = None,
        *,
        mask: Array | None = None,
        weights: Array | None = None,
        cache: KVCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T, V) for the token after each position, and the loss if there are targets.

        Args:
            ids: integers (B, T) in [0, vocab_size), T at most context_length.
            targets: integers (B, T), the token after each position, -1 where none counts.
            mask: booleans (B, T), False for padding, which no position attends to; or (B, T, T), True where the
                position of axis 1 may attend to that of axis 2, such as within one of several packed documents.
            weights: (B, T), weight of each target in the mean.
            cache: what the model has seen of these rows before: `ids` and `mask` are then of the tokens that follow,
                and the cache holds them too afterwards. For inference: under `no_grad()`, with dropout off.

        Raises:
            UserError: an id out of range, more positions than the context, or an array of a wrong shape or dtype; a
                cache of another model or batch, or while recording or dropping.
        """
        self._check(ids, targets, mask)
        if cache is not None:
            self._check_inference()
            cache.check(self.config, ids, mask)
        kernels = mask is None and one_kernel(ids, self._head_weight, self.config.activation)
        if cache is not None and not cache.padded and kernels and self._keeps_its_parts:
            logits = self._token_logits(ids, cache)  # (B, 1, V)
        else:
            x = self.ln_f(self._hidden(ids, mask, cache))  # (B, T, C)
            logits = linear(x, self._head_weight)  # (B, T, V)
        if cache is not None:
            cache.length += ids.shape[1]  # at the end: a call that fails has not been
        if targets is None:
            return logits, None
        return logits, cross_entropy(logits, self._to_device(targets), self._to_device(weights))

    def loss(self, ids: Array, targets: Array, *, mask: Array | None = None, weights: Array | None = None) -> Tensor:
        """The loss that `__call__` returns, without the logits: training wants no more, and it is faster.

        Arguments and errors are those of `__call__`.
        """
        self._check(ids, targets, mask)
        targets, weights = self._to_device(targets), self._to_device(weights)
        x = self._hidden(ids, mask)  # (B, T, C)
        if type(self.ln_f) is LayerNorm:
            fused = (x, self.ln_f.weight, self.ln_f.bias, self._head_weight, targets, weights)
            if head_loss.has_twin(*fused):
                return head_loss(*fused, eps=self.ln_f.eps)
        return cross_entropy(linear(self.ln_f(x), self._head_weight), targets, weights)

    @property
    def _keeps_its_parts(self) -> bool:
        blocks = all(type(block) is Block and block.keeps_its_parts for block in self.blocks)
        return blocks and type(self.ln_f) is LayerNorm

    @property
    def _head_weight(self) -> Tensor:
        """(V, C): the head's own, or the token embedding."""
        return self.head.weight if self.head else self.token_embedding.weight

    def _hidden(self, ids: Array, mask: Array | None, cache: KVCache | None = None) -> Tensor:
        """What the last block leaves in the residual stream (B, T, C)."""
        ids, mask = self._to_device(ids), self._to_device(mask)
        T, start = ids.shape[1], 0 if cache is None else cache.length
        positions = np.arange(start, start + T, like=self.flat.data)  # (T,)
        x = self.dropout(self.token_embedding(ids) + self.position_embedding(positions))  # (B, T, C)
        mask = mask if cache is None else cache.mask(mask, T)  # with a cache (B, start + T)
        for i, block in enumerate(self.blocks):
            x = block(x, mask) if cache is None else block(x, mask, cache.layer(i))  # (B, T, C)
        return x

    def _token_logits(self, ids: Array, cache: KVCache) -> Tensor:
        """Logits (B, 1, V) of the tokens ids (B, 1) behind those in the cache, where each block is one kernel.

        For so few numbers NumPy is done before threads have begun: only the blocks and the head have kernels.
        """
        x = self.token_embedding.weight.data[ids] + self.position_embedding.weight.data[cache.length]  # (B, 1, C)
        for i, block in enumerate(self.blocks):
            x = block.token_step(x, cache.layer(i))  # (B, 1, C)
        bias = None if self.ln_f.bias is None else self.ln_f.bias.data
        x, _ = layernorm_forward(x, self.ln_f.weight.data, bias, eps=self.ln_f.eps)  # (B, 1, C)
        return linear(Tensor(x), self._head_weight)

    def zero_grad(self) -> None:
        """Set every gradient to zero, also where a block was put into something that is no Module."""
        zero_grads(self.flat.parameters)

    def _to_device(self, array: Array | None) -> Array:
        """A host array on the backend of the parameters; what is there already, and None, as it is."""
        if isinstance(array, np.ndarray):
            return backends.backend_of(self.flat.data).to_device(array)
        return array  # type: ignore[return-value]  # None stays None

    def _check_inference(self) -> None:
        if modes.recording.get() or (self.training and self.config.dropout):
            raise UserError(
                "a KV cache is for inference: call the model under `no_grad()`, after `eval()` if it has dropout"
            )

    def _check(self, ids: Array, targets: Array | None, mask: Array | None) -> None:
        if ids.ndim != 2:
            raise UserError(f"ids have shape {ids.shape}: give (batch, time)")
        T, V = ids.shape[1], self.config.vocab_size
        if self.config.context_length < T:
            raise UserError(
                f"{T} tokens are longer than the model's context of {self.config.context_length}: "
                "give fewer, or make the model with a larger context_length"
            )
        if mask is not None and mask.dtype != bool:
            raise UserError(f"mask is {mask.dtype}: give booleans, True where a position may be attended to")
        if mask is not None and mask.shape not in (ids.shape, (*ids.shape, T)):
            raise UserError(
                f"mask has shape {mask.shape} and ids {ids.shape}: give {ids.shape}, False for padding, "
                f"or {(*ids.shape, T)}, True where a query may look at a key"
            )
        for name, array, lowest in (("ids", ids, 0), ("targets", targets, IGNORE_INDEX)):
            if array is None or not isinstance(array, np.ndarray):  # reading a GPU's array back would stall it
                continue
            if array.dtype.kind not in "iu":
                raise UserError(f"{name} are {array.dtype}: give integers")
            if array.shape != ids.shape:
                raise UserError(f"{name} have shape {array.shape} and ids {ids.shape}: give equal shapes")
            if array.size and not lowest <= array.min() <= array.max() < V:
                bad = array[(array < lowest) | (array >= V)][0]
                raise UserError(f"token id {bad} in {name} is out of range: the vocabulary has ids 0 to {V - 1}")
