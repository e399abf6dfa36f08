"""A session: a model, a batch of text, its forward pass with every value kept, and its backward pass to step through.

session = Session.from_text()
step = session.stop(3)              # the fourth node of the backward pass; earlier or later ones as well
session.check(step.node).passed     # its hand-written gradients against numeric ones
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from autograd import Node, Stream, use_backend, use_stream
from autograd.backends import Array
from autograd.debug import DebugError, Step
from autograd.debug.node_check import NodeCheck, record_calls
from autograd.debug.source import OpSource, op_source
from minillm.config import GPTConfig
from minillm.data.corpus import STDLIB, read_corpus
from minillm.debug.flow import LayerFlow, gradient_flow
from minillm.errors import UserError
from minillm.layers.attention import attention, attention_probs, split_heads
from minillm.model import GPT
from minillm.tokenizer import ByteTokenizer, Tokenizer
from minillm.tokenizer.view import visible
from minillm.weights import load_model


class Session:
    """One forward pass, run by the readable references, so that each op is a node of its own.

    Gradients of the model are set to zero first: what is in them is of this backward pass alone. Dropout, where the
    model is training, draws the same masks in each session.

    Args:
        model: on the CPU.
        ids: integers (B, T).
        targets: integers (B, T), the token after each position, -1 where none counts.
        tokenizer: that made the ids.
        title: what this is, for people.

    Attributes:
        tokens: text of each of ids[0] in which nothing is hidden.
        logits: of the forward pass, (B, T, V).
        loss: of the forward pass, what backward begins at.
        steps: the backward pass; the graph is kept, so it can go back from its end.
        calls: inputs and output of each node.

    Raises:
        UserError: as the model does for these ids and targets.
    """

    def __init__(self, model: GPT, ids: Array, targets: Array, tokenizer: Tokenizer, title: str) -> None:
        self.model, self.ids, self.targets, self.tokenizer, self.title = model, ids, targets, tokenizer, title
        self.tokens = [visible(tokenizer.decode_bytes([id])).replace(" ", "␣") for id in ids[0].tolist()]
        model.zero_grad()
        with use_backend("numpy"), use_stream(Stream(0)), record_calls() as self.calls:
            self.logits, loss = model(ids, targets)
        assert loss is not None
        self.loss = loss
        self.steps = loss.backward_steps(retain_graph=True)

    @classmethod
    def from_text(cls, *, config: GPTConfig | None = None, data: Sequence[str] | None = None, seed: int = 0) -> Self:
        """A new model, not trained, on one piece of text that fills its context.

        Args:
            config: of a model of bytes, so with a vocabulary of 256; left out, one that is small enough to read.
            data: where the text is from, as `minillm train` takes it; left out, Python's standard library.
            seed: of the weights and of the place in the text.

        Raises:
            UserError: another vocabulary, no such data, or less text than two bytes.
        """
        config = config or small_config()
        tokenizer = ByteTokenizer()
        if config.vocab_size != tokenizer.vocab_size:
            raise UserError(
                f"the model has a vocabulary of {config.vocab_size} and the text is bytes: "
                f"give a configuration with vocab_size={tokenizer.vocab_size}"
            )
        corpus = read_corpus((STDLIB,) if data is None else data)
        ids = tokenizer.encode_ordinary(_piece(corpus.text, config.context_length + 1, seed))
        title = f"{_size(config)}, not trained, on a piece of {corpus.description}"
        with use_backend("numpy"):
            model = GPT(config, seed)
        return cls(model, *_shifted(ids[: config.context_length + 1]), tokenizer, title)

    @classmethod
    def from_run(cls, run: Path | str, prompt: str) -> Self:
        """A trained model on a prompt, each of whose tokens is to be predicted from those before it.

        Args:
            run: a folder of `minillm train`, one of its checkpoints, or a .safetensors file.
            prompt: text of at least two tokens, which may have special tokens.

        Raises:
            UserError: no model there, a prompt that its tokenizer cannot express, or one too short or too long.
        """
        with use_backend("numpy"):
            model, tokenizer = load_model(run)
        ids = tokenizer.encode(prompt, allowed_special="all")  # (n,)
        most = model.config.context_length + 1
        if not 2 <= len(ids) <= most:
            raise UserError(
                f"the prompt has {len(ids)} token{'s' * (len(ids) != 1)}: give 2 to {most}, since each is predicted "
                f"from those before it, in a context of {most - 1}"
            )
        return cls(model, *_shifted(ids), tokenizer, f"{_size(model.config)}, of {run}, on a prompt")

    @property
    def nodes(self) -> list[Node]:
        """The tape, in backward's order."""
        return self.steps.tape

    def value(self, node: Node) -> Array:
        """What the node's op returned.

        Raises:
            DebugError: a node of another forward pass.
        """
        return self.calls.of(node).y

    def check(self, node: Node) -> NodeCheck:
        """The node's hand-written gradients against numeric ones. Raises DebugError as `value` does."""
        return self.calls.check(node)

    def source(self, node: Node) -> OpSource:
        """Formula and source of the node's op."""
        return op_source(node)

    def stop(self, i: int) -> Step:
        """Go to step i, on or back: each parameter's gradient is what it is there, bit for bit.

        Raises:
            DebugError: there is no such step.
        """
        steps, last = self.steps, len(self.nodes) - 1
        if i in range(last + 1):
            step = steps.step or (steps.back() if steps.place else next(steps))
            while step.index > i:
                step = steps.back()
            while step.index < i and (further := next(steps, None)) is not None:
                step = further
            if step.index == i:
                return step
            last = steps.back().index  # an edit cut off the rest of the tape
        raise DebugError(f"there is no step {i} in this backward pass: choose one of 0 to {last}")

    def attention_maps(self, layer: int) -> Array:
        """How much each position of ids[0] looks at each, (H, T, T) [head, query, key], before dropout.

        Raises:
            DebugError: there is no such layer.
        """
        nodes = [node for node in reversed(self.nodes) if node.op is attention]
        if layer not in range(len(nodes)):
            raise DebugError(f"there is no attention in a layer {layer}: choose one of 0 to {len(nodes) - 1}")
        call = self.calls.of(nodes[layer])
        qkv, mask = call.inputs
        q, k, _ = split_heads(qkv, call.attributes["n_head"])  # each (B, H, T, D)
        probs: Array = attention_probs(q, k, mask, call.attributes.get("causal", True))[0]  # (H, T, T)
        return probs

    def gradient_flow(self) -> list[LayerFlow]:
        """Gradients by layer after the whole backward pass, without what was edited in `steps`."""
        return gradient_flow(self.model, self.loss)


def small_config(**overrides: Any) -> GPTConfig:
    """Of a model that is small enough to read, with some fields replaced. Raises UserError as GPTConfig does."""
    return GPTConfig.preset("nano", **{"d_model": 32, "context_length": 24, **overrides})


def _piece(text: str, n: int, seed: int) -> str:
    """`n` characters from the start of a line on; of a shorter text all."""
    place = int(np.random.default_rng(seed).integers(max(len(text) - n + 1, 1)))
    line = text.rfind("\n", 0, place) + 1
    return text[line : line + n]


def _shifted(ids: Array) -> tuple[Array, Array]:
    """ids and targets, each (1, n - 1), of tokens (n,).

    Raises:
        UserError: there are less than two.
    """
    if len(ids) < 2:
        raise UserError(
            f"the text has {len(ids)} token{'s' * (len(ids) != 1)}: give at least 2, to predict one of them"
        )
    return ids[None, :-1], ids[None, 1:]


def _size(config: GPTConfig) -> str:
    layers = f"{config.n_layer} layer{'' if config.n_layer == 1 else 's'}"
    heads = f"{config.n_head} head{'' if config.n_head == 1 else 's'}"
    return f"GPT of {layers}, {heads}, width {config.d_model}"
