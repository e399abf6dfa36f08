"""An array as blocks of colour: blue below zero, red above, brighter the larger; two rows of numbers to a line.

With NO_COLOR, from which Textual makes shades of grey: darker than zero below it, lighter above.
"""

from __future__ import annotations

import functools
import itertools
import os

import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from autograd.debug.picture import Picture

_RGB = tuple[int, int, int]
_BELOW: _RGB = (70, 150, 255)
_ZERO: _RGB = (30, 32, 40)
_ABOVE: _RGB = (255, 105, 65)
_NOT_FINITE: _RGB = (255, 0, 220)
_GREYS: tuple[_RGB, _RGB, _RGB, _RGB] = ((0, 0, 0), (110, 110, 110), (215, 215, 215), (255, 255, 255))
_UPPER_HALF = "▀"
_SHADES = 24  # on either side of zero
_NO_SHADE = _SHADES + 1  # of a number that is not finite


class HeatMap:
    """The cells of a picture, each a half block; for Rich, which is to show a thousand of them at once.

    Attributes:
        lines: for every two rows of cells the (upper, lower) shades; the lower one is None below the last row.
    """

    def __init__(self, picture: Picture) -> None:
        limit = picture.limit or 1.0
        with np.errstate(invalid="ignore"):  # NaN becomes any integer
            shades = np.rint(picture.cells / limit * _SHADES).clip(-_SHADES, _SHADES)
        rows = np.where(np.isnan(shades), _NO_SHADE, shades).tolist()
        pairs = itertools.zip_longest(rows[::2], rows[1::2])
        self.lines = [list(zip(upper, lower or [None] * len(upper), strict=True)) for upper, lower in pairs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            for shades, cells in itertools.groupby(line):
                yield Segment(_UPPER_HALF * len(list(cells)), style(*shades))
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = len(self.lines[0]) if self.lines else 0
        return Measurement(width, width)


@functools.cache
def style(upper: float, lower: float | None) -> Style:
    """Of a half block with these shades."""
    return Style(color=_colour(upper), bgcolor=None if lower is None else _colour(lower))


def scale(picture: Picture) -> Text:
    """What the colours stand for."""
    limit = picture.limit
    text = Text().append(f"{-limit:.2g} " if picture.low < 0 else "0 ", "dim")
    for share in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0):
        if share >= 0 or picture.low < 0:
            text.append(" ", Style(bgcolor=_colour(round(share * _SHADES))))
    text.append(f" {limit:.2g}", "dim")
    if picture.summary.n_nan or picture.summary.n_inf:
        text.append("  ").append(" ", Style(bgcolor=_colour(_NO_SHADE)))
        text.append(f" {picture.summary.n_nan} nan, {picture.summary.n_inf} inf", "bold")
    return text


def _colour(shade: float) -> Color:
    """Of shade -_SHADES .. _SHADES."""
    colours = (_BELOW, _ZERO, _ABOVE, _NOT_FINITE)
    below, nothing, above, not_finite = _GREYS if "NO_COLOR" in os.environ else colours
    if shade == _NO_SHADE:
        return Color.from_rgb(*not_finite)
    end, share = (below if shade < 0 else above), abs(shade) / _SHADES
    r, g, b = (round(zero + (far - zero) * share) for zero, far in zip(nothing, end, strict=True))
    return Color.from_rgb(r, g, b)
