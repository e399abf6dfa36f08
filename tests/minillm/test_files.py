import errno
from pathlib import Path

import pytest

from minillm.errors import UserError
from minillm.files import replacing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_text("old")
    return path


def test_new_contents_take_over_only_at_the_end(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def write_and_fail(path: Path, error: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("ne")
        raise error


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_interrupted_write_leaves_the_old_file_alone(path: Path, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption):
        write_and_fail(path, interruption())
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("1000 requested and 96 written"), "1000 requested and 96 written"),  # what NumPy says of a full disk
    ],
)
def test_full_disk_is_the_users_to_mend(path: Path, error: OSError, reason: str) -> None:
    with pytest.raises(UserError, match=f"cannot write '.*model.bin': {reason}; any earlier file .* unchanged"):
        write_and_fail(path, error)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("path", [Path(), Path("/")])
def test_path_without_a_name(path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder; give the name of a file"), replacing(path):
        pass


def test_folder_that_is_a_file(path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*Not a directory"), replacing(path / "x") as temporary:
        temporary.write_text("new")


def test_leftover_of_a_killed_run_is_overwritten(path: Path) -> None:
    path.with_name("model.bin.tmp").write_text("half a file of a run that was killed")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
