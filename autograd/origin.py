"""Where an op was called: in which layer, on which line of the layer, and on which line of the user's own file.

Recorded for every Node, so the frames of the call are walked only as far as needed, and line numbers are looked up when
somebody asks.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ENGINE, _USER_S, _PROGRAM_S = 0, -1, -2
_folders = [str(Path(__file__).parent) + os.sep]  # of this library, and of those that are built on it
_STANDARD = sysconfig.get_path("stdlib") + os.sep  # its wrappers, such as contextlib's, call for somebody else
_programs: set[str] = set()
_ours: dict[str, int] = {}  # file -> place of its folder in _folders, _USER_S or _PROGRAM_S
_FURTHER = 8  # frames above the user's line in which a layer is still looked for


def add_library(folder: str) -> None:
    """Files below `folder` are a library's: the user's line is never in them."""
    _folders.append(folder + os.sep)
    _ours.clear()


def add_program(file: str) -> None:
    """A library's command line begins in `file`: what calls it, such as a launcher, is not the user's line."""
    _programs.add(file)
    _ours.clear()


class Origin:
    """Where an op was called.

    Attributes:
        layer: the module whose method called the op, or None.
        caller: (code, last instruction) of the first frame outside `autograd`: the layer's line.
        user: the same of the first frame outside of all libraries: the user's line; None if there is none.
    """

    __slots__ = ("caller", "layer", "user")

    def __init__(self, frame: FrameType | None) -> None:
        """Walk from `frame` outwards."""
        self.layer: Any = None
        self.caller: tuple[CodeType, int] | None = None
        self.user: tuple[CodeType, int] | None = None
        further = _FURTHER
        while frame is not None and further:
            code = frame.f_code
            folder = _ours.get(code.co_filename)
            if folder is None:
                folder = _ours[code.co_filename] = _folder_of(code.co_filename)
            if folder == _PROGRAM_S:
                return
            if folder:
                if self.layer is None:
                    self.layer = layer_of(frame)
                if self.caller is None:
                    self.caller = code, frame.f_lasti
                if self.user is None and folder == _USER_S:
                    self.user = code, frame.f_lasti
                if self.user is not None:
                    if self.layer is not None:
                        return
                    further -= 1
            frame = frame.f_back

    @property
    def layer_path(self) -> str | None:
        """Such as "blocks.0.attn"; the class in brackets where the layer has no path; None outside of layers."""
        if self.layer is None:
            return None
        return getattr(self.layer, "path", None) or f"({type(self.layer).__name__})"

    @property
    def caller_line(self) -> tuple[str, int] | None:
        """(file, line) of the layer's own call."""
        return self.caller and _line(*self.caller)

    @property
    def user_line(self) -> tuple[str, int] | None:
        """(file, line) of the user's call; None where a library's own program ran."""
        return self.user and _line(*self.user)

    def __str__(self) -> str:
        """Such as "train.py:12" or "In[3]:1"; the library's line where the user has none."""
        place = self.user_line or self.caller_line
        return "?" if place is None else shown(*place)


def here() -> Origin:
    """The origin of the op whose `__call__` asks."""
    return Origin(sys._getframe(2))


def _folder_of(file: str) -> int:
    if file in _programs:
        return _PROGRAM_S
    if file.startswith(_STANDARD) and "-packages" not in file:
        return _ENGINE
    inside = (i for i, folder in enumerate(_folders) if file.startswith(folder))
    return next(inside, _USER_S)


def layer_of(frame: FrameType) -> Any:
    """The layer whose method the frame runs, or None."""
    code = frame.f_code
    if not code.co_argcount or code.co_varnames[0] != "self":
        return None
    owner = frame.f_locals.get("self")
    return owner if hasattr(type(owner), "named_modules") else None  # of the class: an instance may answer to any name


def shown(file: str, line: int) -> str:
    """The file's name and the line; of a notebook's cell the number, since its file is a temporary one."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_ipython is None else get_ipython()
    cell = None if shell is None else shell.compile.format_code_name(file)
    return f"{Path(file).name if cell is None else cell[1]}:{line}"


def _line(code: CodeType, instruction: int) -> tuple[str, int]:
    at = (line for start, stop, line in code.co_lines() if start <= instruction < stop and line)
    return code.co_filename, next(at, code.co_firstlineno)
