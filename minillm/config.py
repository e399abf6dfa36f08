"""GPTConfig: the numbers that define a model, and the presets that have names."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from minillm.errors import UserError
from minillm.layers.activations import ACTIVATIONS
from minillm.module import Dtype


def option(default: Any, help_text: str) -> Any:
    """A field with the text that the command line shows for it."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class GPTConfig:
    """A decoder-only transformer. Radford et al. 2019 (GPT-2) is the default shape of everything.

    Raises:
        UserError: a value is out of range or does not fit the others.
    """

    vocab_size: int = option(50257, "number of token ids")
    context_length: int = option(1024, "most tokens the model sees at once")
    n_layer: int = option(12, "number of blocks")
    n_head: int = option(12, "attention heads a block; divides d_model")
    d_model: int = option(768, "width of the residual stream")
    d_ff: int | None = option(None, "width of the feed-forward layer (default: 4 * d_model)")
    activation: str = option("gelu_tanh", f"activation of the feed-forward layer: {', '.join(ACTIVATIONS)}")
    dropout: float = option(0.0, "probability of dropping, in embeddings, attention and residuals")
    bias: bool = option(True, "biases in linear layers and norms")
    tie_embeddings: bool = option(True, "one matrix for token embedding and output head")
    layer_norm_eps: float = option(1e-5, "epsilon under the square root of LayerNorm")
    dtype: Dtype = option("float32", "dtype of parameters and arithmetic: float32 or float64")

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layer", "n_head", "d_model"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: give a whole number of at least 1")
        if self.d_ff is None:
            object.__setattr__(self, "d_ff", 4 * self.d_model)
        elif self.d_ff < 1:
            raise UserError(f"d_ff is {self.d_ff}: give a whole number of at least 1")
        if self.d_model % self.n_head:
            raise UserError(
                f"n_head {self.n_head} does not divide d_model {self.d_model}: "
                f"choose one of {[h for h in range(1, min(self.d_model, 64) + 1) if self.d_model % h == 0]}"
            )
        if self.activation not in ACTIVATIONS:
            raise UserError(f"unknown activation {self.activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}: give a probability of at least 0 and below 1")
        if self.dtype not in ("float32", "float64"):
            raise UserError(f"unknown dtype {self.dtype!r}: choose float32 or float64")

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> GPTConfig:
        """The configuration called `name` (see PRESETS), with some fields replaced.

        Raises:
            UserError: unknown preset or field.
        """
        if name not in PRESETS:
            raise UserError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **overrides})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GPTConfig:
        """The configuration with these fields; the others take their defaults.

        Raises:
            UserError: a name that is no field.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(f"unknown configuration field {name!r}: choose from {', '.join(known)}")
        return cls(**values)

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_head

    def params_by_part(self) -> dict[str, int]:
        """Number of parameters of each part of the model, a tied head counted once."""
        assert self.d_ff is not None
        C, F, V, L, b = self.d_model, self.d_ff, self.vocab_size, self.n_layer, int(self.bias)
        return {
            "token embedding": V * C,
            "position embedding": self.context_length * C,
            "attention": L * ((C + b) * 3 * C + (C + b) * C),  # queries, keys and values; then the projection back
            "feed-forward": L * ((C + b) * F + (F + b) * C),
            "norms": (2 * L + 1) * (C + b * C),
            "head": 0 if self.tie_embeddings else V * C,
        }

    def n_params(self) -> int:
        """Number of parameters of the model."""
        return sum(self.params_by_part().values())

    def flops_per_token(self) -> int:
        """Floating-point operations of one training step (forward and backward) per token, at full context.

        Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B: 6N + 12 L C T, N without position embeddings.
        """
        n = self.n_params() - self.context_length * self.d_model
        return 6 * n + 12 * self.n_layer * self.d_model * self.context_length


PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "d_model": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "d_model": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "d_model": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "d_model": 1600},
    # nanoGPT's train_shakespeare_char on a CPU, and its "baby GPT" for a GPU
    "shakespeare-char": {"vocab_size": 65, "context_length": 64, "n_layer": 4, "n_head": 4, "d_model": 128},
    "shakespeare-char-large": {"vocab_size": 65, "context_length": 256, "n_layer": 6, "n_head": 6, "d_model": 384},
    # what `make train` trains: bytes of Python source
    "python-tiny": {"vocab_size": 256, "context_length": 64, "n_layer": 4, "n_head": 4, "d_model": 128},
    # for stepping through by hand
    "nano": {"vocab_size": 256, "context_length": 16, "n_layer": 2, "n_head": 2, "d_model": 16},
}
