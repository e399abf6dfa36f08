"""Generation: draw a token, append it, ask the model again.

The prompt runs through the model in one go, then each new token by itself, with a key-value cache of those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from autograd import no_grad
from minillm.errors import UserError
from minillm.generate.sampling import Sampling
from minillm.kv_cache import KVCache
from minillm.model import GPT
from minillm.module import Module
from minillm.tokenizer import Tokenizer


def generate(
    model: GPT,
    ids: ArrayLike,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: int | None = None,
) -> Iterator[int]:
    """Yield token ids that continue `ids`, each as soon as it is drawn.

    The model sees the last `context_length` tokens, without dropout and without recording; between two tokens it is
    in the mode that it was in. Its weights must stay as they are until the last token.

    When the context is full it slides. Every token then moves to an earlier position, which changes all keys and
    values, so from there on each step runs the whole context, without the cache: slower, by a factor near
    `context_length`.

    Args:
        ids: integers (n,), the prompt, at least one.
        max_new_tokens: how many to draw at most.
        temperature, top_k, top_p: see `minillm.generate.sampling`.
        seed: of the draws; equal seeds give equal tokens.
        stop: the token that ends the text; it is not yielded.

    Raises:
        UserError: a value is out of range, at the call; an id is not in the vocabulary, at the first token.
    """
    sampling = Sampling(temperature, top_k, top_p)
    prompt = np.asarray(ids)
    if prompt.ndim != 1 or prompt.size == 0 or prompt.dtype.kind not in "iu":
        raise UserError(f"the prompt is {prompt.dtype} of shape {prompt.shape}: give one row of at least one token id")
    if max_new_tokens < 0:
        raise UserError(f"max_new_tokens is {max_new_tokens}: give a whole number of at least 0")
    if seed < 0:
        raise UserError(f"seed is {seed}: give a whole number of at least 0")
    return _draw_tokens(model, prompt, max_new_tokens, sampling, np.random.default_rng(seed), stop)


def _draw_tokens(
    model: GPT, context: np.ndarray, max_new_tokens: int, sampling: Sampling, rng: np.random.Generator, stop: int | None
) -> Iterator[int]:
    T_max = model.config.context_length
    modules = [module for _, module in model.named_modules()]
    cache: KVCache | None = KVCache(model.config, 1, like=model.flat.data)
    context = new = context[-T_max:]  # (T,)
    for _ in range(max_new_tokens):
        with no_grad(), _evaluating(modules):  # not around the yield: the caller would run in these modes too
            logits, _ = model(new[None], cache=cache)  # (1, T, V)
            row = logits[0, -1].numpy()  # (V,), all that leaves the device
        token = sampling.draw(row, rng)
        if token == stop:
            return
        yield token
        if len(context) == T_max:
            cache = None
        context = np.append(context, token)[-T_max:]  # (T,)
        new = context if cache is None else context[-1:]  # (T,) or (1,)


def generate_text(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: str | None = None,
) -> Iterator[str]:
    """Yield the text that continues `prompt`, in pieces of whole characters, as it is drawn.

    Args:
        prompt: the text to continue, with special tokens where their names stand. An empty one starts from a newline,
            or from token 0 where the vocabulary has no newline, which is no part of the result.
        stop: the text that ends the result; it is no part of it, and may span tokens.

    The other arguments are those of `generate`.

    Raises:
        UserError: as `generate` does, and for a prompt that the tokenizer cannot express or an empty `stop`.
    """
    if stop == "":
        raise UserError("the stop text is empty, which every text begins with: give a text, or leave it out")
    ids = tokenizer.encode(prompt, allowed_special="all") if prompt else _start(tokenizer)  # (n,)
    tokens = generate(model, ids, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    pieces = tokenizer.decode_stream(tokens)
    return pieces if stop is None else until(pieces, stop)


def until(pieces: Iterable[str], stop: str) -> Iterator[str]:
    """The text of `pieces` up to the first `stop`; an end that may yet become `stop` waits for the next piece."""
    held = ""
    for piece in pieces:
        held += piece
        before, found, _ = held.partition(stop)
        if found:
            yield before
            return
        n = max((n for n in range(len(stop)) if held.endswith(stop[:n])), default=0)
        yield held[: len(held) - n]
        held = held[len(held) - n :]
    yield held


def _start(tokenizer: Tokenizer) -> ArrayLike:
    try:
        return tokenizer.encode("\n")
    except UserError:
        return [0]


@contextmanager
def _evaluating(modules: list[Module]) -> Iterator[None]:
    """Dropout off inside the block, and then as it was in each layer."""
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training
