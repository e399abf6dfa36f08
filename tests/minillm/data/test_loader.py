import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import Loader, windows
from minillm.errors import UserError
from minillm.layers.cross_entropy import IGNORE_INDEX


@st.composite
def loaders(draw: st.DrawFn) -> Loader:
    """A loader over tokens 0, 1, 2, ..., so that a token says where it came from."""
    context_length = draw(st.integers(1, 9))
    n_tokens = context_length + draw(st.integers(1, 60))
    return Loader(np.arange(n_tokens), draw(st.integers(1, 12)), context_length, draw(st.integers(0, 2**64)))


@given(loader=loaders())
def test_batches_are_contiguous_windows_with_the_next_token_as_target(loader: Loader) -> None:
    for _, (inputs, targets) in zip(range(5), loader, strict=False):
        for array in (inputs, targets):
            assert array.shape == (loader.batch_size, loader.context_length)
            assert array.dtype == np.int64
            assert array.flags.c_contiguous
        np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(loader.context_length))
        np.testing.assert_array_equal(targets, inputs + 1)
        assert inputs.min() >= 0
        assert targets.max() < len(loader.tokens)


@given(loader=loaders(), n_epochs=st.integers(1, 4))
def test_every_epoch_visits_each_window_of_its_grid_exactly_once(loader: Loader, n_epochs: int) -> None:
    loader.batch_size = 1  # so that an epoch ends with a batch
    n, T = len(loader.tokens), loader.context_length
    for _ in range(n_epochs):
        inputs, _ = next(loader)
        starts = [inputs[0, 0]]
        epoch = loader.state_dict()["epoch"]
        for inputs, _ in loader:
            if loader.state_dict()["epoch"] != epoch:
                loader.load_state_dict(loader.state_dict() | {"index": 0})
                break
            starts.append(inputs[0, 0])
        first = min(starts)
        assert first < T  # what the offset leaves out before the grid is less than a window,
        assert n - 1 - (max(starts) + T) < T  # and so is what is left over behind it
        np.testing.assert_array_equal(np.sort(starts), np.arange(first, max(starts) + 1, T))


def test_grid_offset_and_order_change_from_epoch_to_epoch_and_seed_to_seed() -> None:
    T, n_windows = 8, 50
    seen: dict[int, set[tuple[int, ...]]] = {}
    offsets = set()
    for seed in range(4):
        loader = Loader(np.arange(n_windows * T + T), 49, T, seed)  # 49 windows at least, whatever the offset
        for epoch in range(10):
            loader.load_state_dict(loader.state_dict() | {"epoch": epoch, "index": 0})
            starts = next(loader)[0][:, 0]
            offsets.add(starts[0] % T)
            seen.setdefault(seed, set()).add(tuple(starts // T))
            assert (np.diff(starts) == T).mean() < 0.2  # shuffled
    assert offsets == set(range(T))
    assert len(set.union(*seen.values())) == 40


@given(loader=loaders(), n_before=st.integers(0, 30), n_after=st.integers(1, 10))
def test_resumed_batches_are_the_same(loader: Loader, n_before: int, n_after: int) -> None:
    for _ in range(n_before):
        next(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = Loader(loader.tokens, loader.batch_size, loader.context_length, loader.seed)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for _ in range(n_after):
        np.testing.assert_array_equal(next(resumed), next(loader))
    assert resumed.state_dict() == loader.state_dict()


@given(loader=loaders(), other_size=st.integers(1, 12))
def test_the_batch_size_cuts_one_and_the_same_stream_of_windows(loader: Loader, other_size: int) -> None:
    other = Loader(loader.tokens, other_size, loader.context_length, loader.seed)
    one = np.concatenate([next(loader)[0] for _ in range(other_size)])
    two = np.concatenate([next(other)[0] for _ in range(loader.batch_size)])
    np.testing.assert_array_equal(one, two)


def test_shortest_text_has_one_window_in_every_epoch() -> None:
    loader = Loader(np.arange(5), batch_size=3, context_length=4, seed=0)
    inputs, targets = next(loader)
    assert inputs.tolist() == [[0, 1, 2, 3]] * 3
    assert targets.tolist() == [[1, 2, 3, 4]] * 3
    assert loader.state_dict()["epoch"] == 2


def test_text_shorter_than_the_context() -> None:
    with pytest.raises(UserError, match="has 64 tokens, but a context of 64 needs at least 65; give more data"):
        Loader(np.zeros(64, np.uint16), batch_size=1, context_length=64, seed=0)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"context_length": 5}, {"n_tokens": 51}])
def test_position_of_another_run(changed: dict[str, int]) -> None:
    loader = Loader(np.arange(50), batch_size=2, context_length=4, seed=0)
    with pytest.raises(UserError, match="resume with the same data and settings"):
        loader.load_state_dict(loader.state_dict() | changed)


@given(n_tokens=st.integers(2, 80), context_length=st.integers(1, 20), batch_size=st.integers(1, 7))
def test_windows_predict_every_token_once(n_tokens: int, context_length: int, batch_size: int) -> None:
    tokens = np.random.default_rng(n_tokens).integers(2**16, size=n_tokens).astype(np.uint16)
    batches = list(windows(tokens, context_length, batch_size))
    for inputs, targets in batches:
        assert inputs.shape == targets.shape
        assert inputs.shape[1] == context_length
        assert inputs.dtype == targets.dtype == np.int64
    sizes = [len(inputs) for inputs, _ in batches]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= batch_size
    inputs = np.concatenate([inputs.ravel() for inputs, _ in batches])
    targets = np.concatenate([targets.ravel() for _, targets in batches])
    n_targets = n_tokens - 1
    np.testing.assert_array_equal(targets[:n_targets], tokens[1:])
    np.testing.assert_array_equal(inputs[:n_targets], tokens[:-1])
    assert len(targets) - n_targets < context_length  # padding fills up the last window only
    assert (targets[n_targets:] == IGNORE_INDEX).all()
    assert (inputs[n_targets:] == 0).all()


@pytest.mark.parametrize("n_tokens", [0, 1])
def test_nothing_to_predict(n_tokens: int) -> None:
    with pytest.raises(UserError, match=f"has {n_tokens} tokens, but an evaluation needs at least 2"):
        windows(np.zeros(n_tokens, np.uint16), context_length=4, batch_size=2)
