"""Writing files so that a crash, a kill or a full disk leaves either the old file or the new one, never half of one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minillm.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit its contents reach the disk and take over the name `path`.

    The temporary file is removed when the block raises. An OSError (full disk, missing folder, no permission)
    becomes a UserError, as does a path that names no file; a file that already had the name is then unchanged.
    """
    if not path.name:
        raise UserError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
    temporary = path.with_name(path.name + ".tmp")  # a fixed name: what a killed run left behind is overwritten
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())  # before the rename: a rename can reach the disk ahead of the data
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r}: {error.strerror or error}; any earlier file of that name is unchanged: "
            "check that the folder exists, may be written to and has free space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder of files that `replacing` wrote, which must not exist yet: yield a temporary folder.

    What a killed run left in the temporary folder is removed first.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _sync_folder(temporary)
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write the folder {str(path)!r}: {error.strerror or error}: "
            "check that it may be written to and has free space"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; only POSIX systems can open a folder to say so."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
