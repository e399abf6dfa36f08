from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import Loader, open_tokens, token_dtype, write_token_parts, write_tokens
from minillm.errors import UserError


@pytest.mark.parametrize(("vocab_size", "width"), [(2, 2), (50_257, 2), (65_536, 2), (65_537, 4), (200_000, 4)])
def test_what_was_written_is_mapped_again(tmp_path: Path, vocab_size: int, width: int) -> None:
    ids = np.random.default_rng(0).integers(vocab_size, size=1000)
    ids[0], ids[-1] = 0, vocab_size - 1
    path = tmp_path / "train.npy"
    write_tokens(path, ids, vocab_size)
    tokens = open_tokens(path, vocab_size)
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
    assert tokens.dtype == token_dtype(vocab_size) == f"<u{width}"
    np.testing.assert_array_equal(tokens, ids)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), ids)  # any NumPy reads the file
    assert list(tmp_path.iterdir()) == [path]


def test_loader_gives_the_same_batches_from_a_file(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(60_000, size=500)
    write_tokens(tmp_path / "train.npy", ids, 60_000)
    from_file = Loader(open_tokens(tmp_path / "train.npy", 60_000), batch_size=7, context_length=16, seed=3)
    from_memory = Loader(ids, batch_size=7, context_length=16, seed=3)
    for _ in range(20):
        for mapped, expected in zip(next(from_file), next(from_memory), strict=True):
            assert type(mapped) is np.ndarray
            np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 65], "token id 65 at position 1 is not in this vocabulary of 65 tokens"),
        ([-1], "token id -1 at position 0"),
        ([], "there are no tokens to write"),
    ],
)
def test_ids_that_cannot_be_written(tmp_path: Path, ids: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_tokens(tmp_path / "train.npy", ids, 65)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*No such file or directory"):
        write_tokens(tmp_path / "nowhere" / "train.npy", [1], 65)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot open the token file .*No such file or directory"):
        open_tokens(tmp_path / "train.npy", 65)


@given(length=st.integers(0, 327))
def test_truncated_file(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated.npy"
    write_tokens(path, np.arange(100), 65_536)
    assert path.stat().st_size == 328  # a header of 128 bytes, then the tokens
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="truncated or not a token file"):
        open_tokens(path, 65_536)


@pytest.mark.parametrize(
    ("array", "vocab_size", "message"),
    [
        (np.arange(9, dtype="<u4"), 65, "holds uint32 of shape .* but the tokens of a vocabulary of 65 are"),
        (np.arange(9, dtype="<u2"), 65_537, "one row of uint32"),
        (np.arange(9, dtype=">u2"), 65, "holds >u2"),
        (np.arange(9, dtype="f4"), 65, "holds float32"),
        (np.zeros((3, 3), "<u2"), 65, r"shape \(3, 3\)"),
        (np.arange(66, dtype="<u2"), 65, "token id 65 at position 65 is not in this vocabulary of 65"),
        (np.array([None]), 65, "not a token file"),
    ],
)
def test_other_arrays(tmp_path: Path, array: np.ndarray, vocab_size: int, message: str) -> None:
    np.save(tmp_path / "other.npy", array)
    with pytest.raises(UserError, match=message):
        open_tokens(tmp_path / "other.npy", vocab_size)


def test_other_file(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("once upon a time\n" * 9)
    with pytest.raises(UserError, match="not a token file"):
        open_tokens(tmp_path / "text.npy", 65)


@given(parts=st.lists(st.lists(st.integers(0, 64), max_size=5), max_size=5).filter(any), wide=st.booleans())
def test_parts_make_the_file_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], wide: bool
) -> None:
    folder, vocab_size = tmp_path_factory.getbasetemp(), 70_000 if wide else 65
    whole = [id for part in parts for id in part]
    assert write_token_parts(folder / "parts.npy", iter(parts), vocab_size) == len(whole)
    write_tokens(folder / "whole.npy", whole, vocab_size)
    np.save(folder / "numpy.npy", np.array(whole, token_dtype(vocab_size)))
    assert (folder / "parts.npy").read_bytes() == (folder / "whole.npy").read_bytes()
    assert (folder / "parts.npy").read_bytes() == (folder / "numpy.npy").read_bytes()


def test_a_part_that_fails_leaves_no_file(tmp_path: Path) -> None:
    for bad, message in ((65, "not in this vocabulary"), (None, "stop")):

        def parts(bad: int | None = bad) -> Iterator[list[int]]:
            yield [1, 2]
            if bad is None:
                raise UserError("stop")
            yield [bad]

        with pytest.raises(UserError, match=message):
            write_token_parts(tmp_path / "train.npy", parts(), 65)
    assert list(tmp_path.iterdir()) == []
