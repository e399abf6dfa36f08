"""An array as blocks of colour: blue below zero, red above, brighter the larger; two rows of numbers to a line."""

from __future__ import annotations

import math

from rich.color import Color
from rich.style import Style
from rich.text import Text

from autograd.backends import Array
from autograd.debug.picture import Picture

_RGB = tuple[int, int, int]
_BELOW: _RGB = (70, 150, 255)
_ZERO: _RGB = (30, 32, 40)
_ABOVE: _RGB = (255, 105, 65)
_NOT_FINITE: _RGB = (255, 0, 220)
_UPPER_HALF = "▀"
_STEPS = 24  # shades on either side of zero


def heat_map(picture: Picture) -> Text:
    """The cells, each a half block; NaN and infinity in a colour of their own."""
    shades = _shades(picture)
    lines = []
    for row in range(0, len(shades), 2):
        lower = shades[row + 1] if row + 1 < len(shades) else [None] * len(shades[row])
        line = Text()
        for top, bottom in zip(shades[row], lower, strict=True):
            line.append(_UPPER_HALF, _style(top, bottom))
        lines.append(line)
    return Text("\n").join(lines)


def scale(picture: Picture) -> Text:
    """What the colours stand for."""
    limit = _limit(picture)
    text = Text().append(f"{-limit:.2g} " if picture.low < 0 else "0 ", "dim")
    for share in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0):
        if share >= 0 or picture.low < 0:
            text.append(" ", Style(bgcolor=Color.from_rgb(*_shade(round(share * _STEPS)))))
    text.append(f" {limit:.2g}", "dim")
    if picture.summary.n_nan or picture.summary.n_inf:
        text.append("  ")
        text.append(" ", Style(bgcolor=Color.from_rgb(*_NOT_FINITE)))
        text.append(f" {picture.summary.n_nan} nan, {picture.summary.n_inf} inf", "bold")
    return text


def _limit(picture: Picture) -> float:
    """What the brightest colour stands for."""
    limits = [abs(limit) for limit in (picture.low, picture.high) if math.isfinite(limit)]
    return max(limits, default=0.0)


def _shades(picture: Picture) -> list[list[_RGB]]:
    limit = _limit(picture) or 1.0
    cells: Array = picture.cells
    return [
        [_NOT_FINITE if math.isnan(x) else _shade(round(max(-1.0, min(1.0, x / limit)) * _STEPS)) for x in row]
        for row in cells.tolist()
    ]


def _shade(step: int) -> _RGB:
    """Colour `step` of -_STEPS .. _STEPS."""
    end, share = (_BELOW if step < 0 else _ABOVE), abs(step) / _STEPS
    r, g, b = (round(zero + (far - zero) * share) for zero, far in zip(_ZERO, end, strict=True))
    return r, g, b


def _style(top: _RGB, bottom: _RGB | None) -> Style:
    return Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom) if bottom else None)
