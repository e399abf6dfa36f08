"""Reads the blocks of a guide in docs/, for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path

NUMBER = r"-?\d+\.\d+(e[+-]\d+)?%?|\d+e[+-]\d+|\d+(?= %)|\bratio \S+|(?<=#)\d+|(?<=\.py\()\d+"


def blocks_of(guide: Path) -> list[tuple[str, str]]:
    """(language, text) of each block."""
    return re.findall(r"```(python|py|sh|text|console)\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)


def masked(text: str) -> str:
    """Without numbers that differ from machine to machine or from run to run, and without the reproducer's arrays."""
    return re.sub(r" +", " ", re.sub(NUMBER, "#", text)).strip()


def shown_after(blocks: list[tuple[str, str]], language: str) -> list[tuple[str, str]]:
    """(block, the text below it), for the blocks of a language; "" where the next block is another one."""
    follows = [*blocks[1:], ("", "")]
    return [
        (code, text if kind == "text" else "")
        for (is_in, code), (kind, text) in zip(blocks, follows, strict=True)
        if is_in == language
    ]
