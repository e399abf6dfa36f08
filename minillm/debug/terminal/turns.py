"""Keys that move through the pass, or change where it stops: one after the other, while the screen stays alive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from minillm.debug.terminal.walk import Walk

LONG = 0.2  # seconds from which a move tells how far it is, and keys do not wait for its end
_REFRESH = 0.1  # seconds
LATE = 0.5  # seconds after which a turn is left out if the same key was pressed again: it is held down


class Turns:
    """A queue of what keys asked for. A move runs in a thread; all else on the screen's, and never during a move.

    Attributes:
        moving: whether a thread is in a move, so that nobody may look at the walk's step.
    """

    def __init__(self, walk: Walk, say: Callable[[str], None]) -> None:
        """
        Args:
            say: shows a message.
        """
        self.moving = False
        self._walk, self._say = walk, say
        self._waiting: deque[tuple[float, tuple[Any, ...]]] = deque()  # since when, and what; the first is under way
        self._is_long = self._has_ignored = False

    def add(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
        """Have the function called in its turn; during a long move it never is.

        Returns whether nobody takes turns now, so that `take` is to be called.
        """
        if self._is_long:
            self._ignore()
            return False
        self._waiting.append((time.monotonic(), (function, *arguments)))
        return len(self._waiting) == 1

    async def take(self) -> None:
        """All turns, also those added meanwhile."""
        while self._waiting:
            since, turn = self._waiting[0]
            is_last = [other for _, other in self._waiting].count(turn) == 1
            if is_last or time.monotonic() - since < LATE:
                function, *arguments = turn
                await function(*arguments)
            self._waiting.popleft()

    async def move(self, move: Callable[[], None]) -> Exception | None:
        """Run one of the walk's moves in a thread. Returns what it raised; if cancelled, has it stop."""
        self._walk.stopping.clear()
        self.moving, self._has_ignored = True, False
        moved = asyncio.get_running_loop().run_in_executor(None, _error_of, move)
        try:
            await asyncio.wait([moved], timeout=LONG)
            self._is_long = not moved.done()
            if self._is_long and len(self._waiting) > 1:
                self._ignore()
            while not moved.done():
                self._tell()
                await asyncio.wait([moved], timeout=_REFRESH)
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            self.moving = self._is_long = False
        return moved.result()

    def stop(self) -> None:
        """Have the move end between two steps, and forget what waits for it."""
        self._walk.stopping.set()
        self._forget()

    def _ignore(self) -> None:
        self._has_ignored = True
        self._forget()
        self._tell()

    def _forget(self) -> None:
        while len(self._waiting) > 1:
            self._waiting.pop()

    def _tell(self) -> None:
        ignored = "still moving, so that key did nothing: " if self._has_ignored else ""
        self._say(f"{self._walk.where} ... {ignored}esc stops it")


def _error_of(move: Callable[[], None]) -> Exception | None:
    try:
        move()
    except Exception as error:  # anything at all: ops may be the user's own
        return error
    return None
