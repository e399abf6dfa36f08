"""Ctrl-C and SIGTERM as a flag, so that a step can finish and be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second acts as usual, for who cannot wait.

    In a thread other than the main one, where Python allows no signal handlers, nothing sets the event.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(*_: object) -> None:
        event.set()
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield event
    finally:
        restore()
