"""Checks of the project itself, for `minillm check`."""
