"""Text cut into the pieces that merges stay inside of: GPT-2's split pattern, and any other.

  "I'll pay 100 $ now"  ->  "I", "'ll", " pay", " 100", " $", " now"

GPT-2's pattern (Radford et al. 2019, `encoder.py` of openai/gpt-2) asks which characters are letters, numbers and
spaces, and its answer must not follow this machine's version of Unicode. So each character beyond ASCII is replaced by
one of ASCII that stands for its class, the pattern runs on that, and its cuts are made in the text itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
import regex
from numpy.typing import NDArray

from minillm.errors import UserError
from minillm.tokenizer.unicode_classes import LETTER, N_CODE_POINTS, NUMBER, SPACE, unicode_classes

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s",
}

_GPT2_OF_STAND_INS = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)

Split = Callable[[str], list[str]]


def splitter(pattern: str) -> Split:
    """The function that cuts a text by a pattern: a name of PATTERNS, or a regular expression of the module `regex`.

    Characters that no part of an expression matches are left out, as in tiktoken.

    Raises:
        UserError: no such name, and not a regular expression.
    """
    if pattern in ("gpt2", PATTERNS["gpt2"]):
        return split_gpt2
    try:
        compiled = regex.compile(PATTERNS.get(pattern, pattern))
    except regex.error as error:
        raise UserError(
            f"split pattern {pattern!r} is no regular expression ({error}): "
            f"give one, or one of the names {', '.join(PATTERNS)}"
        ) from error
    return lambda text: [match.group() for match in compiled.finditer(text)]


def is_known(pattern: str) -> bool:
    """Whether it is one of PATTERNS, by name or in full, for which it is known where no word can lie."""
    return pattern in PATTERNS or pattern in PATTERNS.values()


def split_gpt2(text: str) -> list[str]:
    """`text` cut by GPT-2's pattern; the pieces join to it."""
    stand_ins = text if text.isascii() else _stand_ins()[_code_points(text)].tobytes().decode("ascii")
    return [text[match.start() : match.end()] for match in _GPT2_OF_STAND_INS.finditer(stand_ins)]


@functools.cache
def _stand_ins() -> NDArray[np.uint8]:
    """For each code point one of ASCII: itself, or one of its class that no other part of the pattern names."""
    of_class = np.zeros(4, np.uint8)  # (4,)
    of_class[[LETTER, NUMBER, SPACE]] = [ord("A"), ord("0"), ord("\n")]
    of_class[0] = ord("!")
    stand_ins = of_class[unicode_classes()]  # (0x110000,)
    stand_ins[:128] = np.arange(128)
    assert stand_ins.shape == (N_CODE_POINTS,)
    return stand_ins


def _code_points(text: str) -> NDArray[np.uint32]:
    """(n,) code points."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
