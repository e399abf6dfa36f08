"""Generation with real, untrained models, and with stand-ins whose answers are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import Tensor, modes
from minillm import GPT, GPTConfig, UserError
from minillm.generate import generate, generate_text
from minillm.generate.generate import until
from minillm.generate.sampling import Sampling
from minillm.kv_cache import KVCache
from minillm.module import Module
from minillm.tokenizer import ByteTokenizer, CharTokenizer

CONFIG = GPTConfig(vocab_size=16, context_length=5, n_layer=2, n_head=2, d_model=8, dropout=0.5)


@pytest.fixture
def model() -> GPT:
    return GPT(CONFIG, seed=3)


class Successor(Module):
    """The token after t is t + 1, modulo V, with certainty; notes what it is given."""

    def __init__(self, vocab_size: int = 256, context_length: int = 4) -> None:
        self.config = GPTConfig(vocab_size, context_length, n_layer=1, n_head=1, d_model=1)
        self.flat = SimpleNamespace(data=np.zeros(0))
        self.contexts: list[list[int]] = []

    def __call__(self, ids: np.ndarray, cache: KVCache | None) -> tuple[Tensor, None]:
        self.contexts.append(ids[0].tolist())
        if cache is not None:
            cache.length += ids.shape[1]
        return Tensor(np.log(np.eye(self.config.vocab_size)[(ids + 1) % self.config.vocab_size] + 1e-30)), None


def generate_uncached(model: GPT, ids: list[int], n: int, sampling: Sampling, seed: int) -> list[int]:
    """What `generate` has to give: the whole context through the model for every token."""
    rng = np.random.default_rng(seed)
    model.eval()
    for _ in range(n):
        logits, _ = model(np.array([ids[-model.config.context_length :]]))
        ids = [*ids, sampling.draw(logits.numpy()[0, -1], rng)]
    return ids[-n:]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=7), st.sampled_from([0, 0.5, 1, 3]), st.integers(0, 99))
def test_tokens_are_those_of_the_whole_context_before_and_after_it_is_full(
    prompt: list[int], temperature: float, seed: int
) -> None:
    model = GPT(replace(CONFIG, dtype="float64"), seed=seed)  # in float32 a rounding may decide a draw
    model.flat.data *= 10  # far from a uniform guess, so that the context decides
    expected = generate_uncached(model, prompt, 9, Sampling(temperature), seed)
    assert list(generate(model, prompt, 9, temperature=temperature, seed=seed)) == expected


def test_the_prompt_runs_in_one_go_then_each_token_alone_until_the_context_is_full() -> None:
    model = Successor(context_length=5)
    assert list(generate(model, [1, 2], 6)) == [3, 4, 5, 6, 7, 8]  # type: ignore[arg-type]
    assert model.contexts == [[1, 2], [3], [4], [5], [2, 3, 4, 5, 6], [3, 4, 5, 6, 7]]


def test_the_context_is_cropped_to_the_last_tokens() -> None:
    model = Successor(context_length=3)
    assert list(generate(model, [7, 1, 2, 3, 4], 3)) == [5, 6, 7]  # type: ignore[arg-type]
    assert model.contexts == [[2, 3, 4], [3, 4, 5], [4, 5, 6]]


@given(st.integers(0, 2**40))
def test_equal_seeds_give_equal_tokens(seed: int) -> None:
    model = GPT(CONFIG)
    first = list(generate(model, [1], 8, seed=seed))
    assert list(generate(model, [1], 8, seed=seed)) == first
    assert all(0 <= token < CONFIG.vocab_size for token in first)


def test_other_seeds_give_other_tokens(model: GPT) -> None:
    assert len({tuple(generate(model, [1], 8, seed=seed)) for seed in range(20)}) == 20


def test_first_tokens_are_distributed_as_the_model_says(model: GPT) -> None:
    n = 2000
    counts = np.bincount([next(generate(model, [3], 1, temperature=2, seed=seed)) for seed in range(n)], minlength=16)
    model.eval()
    logits = model(np.array([[3]]))[0].numpy()[0, -1] / 2
    expected = n * np.exp(logits) / np.exp(logits).sum()
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # exceeded once in 1,000 at 15 degrees of freedom


def test_the_stop_token_ends_the_text_and_is_no_part_of_it() -> None:
    assert list(generate(Successor(), [1], 100, stop=6)) == [2, 3, 4, 5]  # type: ignore[arg-type]


def test_modes_are_as_before_between_tokens_and_after(model: GPT) -> None:
    model.blocks[1].eval()  # a frozen part stays so
    before = [module.training for _, module in model.named_modules()]
    assert set(before) == {True, False}
    for _ in generate(model, [1], 2):
        assert modes.recording.get()
        assert [module.training for _, module in model.named_modules()] == before
    with pytest.raises(UserError, match="token id 99"):
        next(generate(model, [99], 1))
    assert modes.recording.get()
    assert [module.training for _, module in model.named_modules()] == before


def test_the_model_runs_without_recording_and_without_dropout(model: GPT) -> None:
    seen = []

    def spy(ids: np.ndarray, cache: KVCache | None) -> tuple[Tensor, None]:
        logits, _ = GPT.__call__(model, ids, cache=cache)
        seen.append((logits.requires_grad, {module.training for _, module in model.named_modules()}))
        return logits, None

    proxy = type("Spy", (Module,), {"__call__": lambda _, ids, cache: spy(ids, cache)})()
    proxy.model, proxy.config, proxy.flat = model, model.config, model.flat
    list(generate(proxy, [1], 2))
    assert seen == [(False, {False})] * 2


def test_no_tokens_asked_none_given(model: GPT) -> None:
    assert list(generate(model, [1], 0)) == []


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([], {}, "at least one token id"),
        ([[1, 2]], {}, r"shape \(1, 2\)"),
        ([0.5], {}, "float64"),
        ([1], {"max_new_tokens": -1}, "max_new_tokens is -1"),
        ([1], {"seed": -1}, "seed is -1"),
        ([1], {"temperature": -1}, "temperature is -1"),
        ([1], {"top_k": 0}, "top_k is 0"),
        ([1], {"top_p": 2}, "top_p is 2"),
    ],
)
def test_mistakes_are_refused_at_the_call(model: GPT, ids: list, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(model, ids, **{"max_new_tokens": 1, **options})


def test_text_streams_whole_characters() -> None:
    text = "".join(generate_text(Successor(), ByteTokenizer(), "a", 5))  # type: ignore[arg-type]
    assert text == "bcdef"
    model = Successor(context_length=9)
    # 0xC2 0xC3 ... is no UTF-8: each is replaced, and none is held back for ever
    assert "".join(generate_text(model, ByteTokenizer(), "\u00c1", 2)) == "��"  # type: ignore[arg-type]


def test_an_empty_prompt_starts_from_a_newline_or_token_zero() -> None:
    model = Successor()
    assert list(generate_text(model, ByteTokenizer(), "", 1)) == ["\x0b"]  # type: ignore[arg-type]
    assert model.contexts == [[10]]
    model = Successor(vocab_size=3)
    assert list(generate_text(model, CharTokenizer("abc"), "", 2)) == ["b", "c"]  # type: ignore[arg-type]
    assert model.contexts == [[0], [1]]


def test_a_character_the_tokenizer_does_not_know_is_reported() -> None:
    with pytest.raises(UserError, match="character 'x' at position 1 is not in this vocabulary"):
        generate_text(Successor(3), CharTokenizer("abc"), "ax", 1)  # type: ignore[arg-type]


def test_a_stop_text_may_span_tokens() -> None:
    pieces = generate_text(Successor(), ByteTokenizer(), "a", 20, stop="fgh")  # type: ignore[arg-type]
    assert "".join(pieces) == "bcde"
    with pytest.raises(UserError, match="stop text is empty"):
        generate_text(Successor(), ByteTokenizer(), "a", 1, stop="")  # type: ignore[arg-type]


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.text("ab", min_size=1, max_size=4))
def test_until_is_the_text_before_the_first_stop(pieces: list[str], stop: str) -> None:
    assert "".join(until(pieces, stop)) == "".join(pieces).partition(stop)[0]


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.text("ab", min_size=1, max_size=4))
def test_until_holds_back_no_more_than_may_become_stop(pieces: list[str], stop: str) -> None:
    given_so_far = []
    taken = ""
    for piece in until((given_so_far.append(p) or p for p in pieces), stop):  # type: ignore[func-returns-value]
        taken += piece
        before, found, _ = "".join(given_so_far).partition(stop)
        if not found:
            assert stop.startswith(before[len(taken) :])
