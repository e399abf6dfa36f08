"""The line to type in what is looked for."""

from __future__ import annotations

from collections.abc import Callable

from textual.widgets import Input


class Search(Input):
    """Is there while somebody types."""

    def __init__(self, find: Callable[[str, bool], None]) -> None:
        """
        Args:
            find: is handed the text at each key, and whether to look for the next place that has it.
        """
        super().__init__(id="search", placeholder="op or layer")
        self._find, self._last = find, ""

    def begin(self) -> None:
        self.value = ""
        self.display = True
        self.screen.set_focus(self)  # at once: the next key is the text's

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.value:
            self._find(event.value, False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """An empty search goes on with the one before."""
        if event.value:
            self._last = event.value
        elif self._last:
            self._find(self._last, True)
