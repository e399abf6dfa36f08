"""What is encoded and learned from: text of this machine, and text made up."""

from __future__ import annotations

import gettext
import random
import sysconfig
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from pydoc_data.topics import topics

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LONGEST = "stdlib .py"  # the text for two threads
SHAKESPEARE = DATA / "tinyshakespeare.txt"
TRANSLATIONS = Path("/usr/share/locale")

SPACES = " \t\n\r\x0b\x0c\x1c\x1f\x85\u00a0\u1680\u2003\u2028\u3000"
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'lx", "''", "'", "\u2019s"]
SPECIAL = ["<|endoftext|>", "<|endoftext", "<|", "|>"]
EMOJI = ["🙂", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "❤\ufe0f", "1\ufe0f\u20e3"]
ALPHABETS = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x5D0, 0x700), (0x900, 0xE00), (0x3040, 0x3100)]
ALPHABETS += [(0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0x1D400, 0x1D800), (0x2150, 0x2190), (0x300, 0x370)]


class Text:
    """A text, which is made when it is first asked for.

    Attributes:
        what: says in a few words what it is.
    """

    def __init__(self, what: str, make: Callable[[], str]) -> None:
        self.what, self._make = what, make

    @cached_property
    def text(self) -> str:
        return self._make()

    @cached_property
    def megabytes(self) -> float:
        """Of UTF-8."""
        return len(self.text.encode()) / 1e6


def stdlib_files(*, quick: bool) -> list[Path]:
    """The sources of Python's standard library that are UTF-8 text, tests among them; with `quick` the first few."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    sources = sorted(path for path in folder.rglob("*.py") if not {"site-packages", "dist-packages"} & {*path.parts})
    return [path for path in sources[: 5 if quick else None] if _is_text(path.read_bytes())]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def read(path: Path) -> str:
    """A file's text, line ends as they are."""
    return path.read_bytes().decode("utf-8-sig")


def texts(*, quick: bool) -> dict[str, Text]:
    """By name; with `quick` a small part of each that is long. What this machine does not have is left out."""
    files = stdlib_files(quick=quick)
    size = 20_000 if quick else 4_000_000
    found = {
        LONGEST: Text("sources of Python's standard library", lambda: "\n".join(map(read, files))),
        "pydoc topics": Text("Python's reference in English", lambda: "\n".join(topics.values())[:size]),
    }
    if SHAKESPEARE.exists():
        found["tinyshakespeare"] = Text("plays in English", lambda: read(SHAKESPEARE)[:size])
    found["adversarial Unicode"] = Text(
        "made up, seed 0: spaces of all kinds, contractions, code points from anywhere, emoji, runs",
        lambda: adversarial(size),
    )
    if any(TRANSLATIONS.glob("*/LC_MESSAGES/*.mo")):
        found["translations"] = Text(
            f"messages of programs in many languages, from gettext's catalogues in {TRANSLATIONS}",
            lambda: translations(size),
        )
    return found


def adversarial(size: int) -> str:
    """Random text of about `size` bytes of UTF-8."""
    rng = random.Random(0)
    parts: list[str] = []
    while size > 0:
        parts.append(random_text(rng).encode("utf-8", "ignore").decode())
        size -= len(parts[-1].encode())
    return "".join(parts)


def translations(size: int) -> str:
    """About `size` bytes of translated messages, each once, of catalogues in the order that seed 0 gives them."""
    catalogues = sorted(TRANSLATIONS.glob("*/LC_MESSAGES/*.mo"))
    random.Random(0).shuffle(catalogues)
    messages: dict[str, None] = {}
    for path in catalogues:
        with path.open("rb") as file:
            try:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # all of its messages
            except (OSError, UnicodeDecodeError, ValueError):
                continue  # damaged, or in an encoding of its own
        for original, message in catalogue.items():
            if original and message not in messages:
                messages[message] = None
                size -= len(message.encode())
        if size < 0:
            break
    return "\n".join(messages)


def random_text(rng: random.Random) -> str:
    """A short text of what breaks tokenizers, surrogates among it."""
    return "".join(_piece(rng) for _ in range(rng.randrange(12)))


def _piece(rng: random.Random) -> str:
    kind = rng.randrange(10)
    if kind == 0:
        return "".join(rng.choices(SPACES, k=rng.randint(1, 4)))
    if kind == 1:
        return rng.choice(CONTRACTIONS)
    if kind == 2:
        return chr(rng.randrange(0x110000))
    if kind == 3:
        return rng.choice(EMOJI + SPECIAL)
    if kind == 4 and rng.random() < 0.1:
        return rng.choice([" ", "\n", "a", "-", "0", "'s", "é", "中", "🙂", "ab"]) * rng.choice([3, 17, 64, 300])
    if kind in (5, 6):
        return " " * rng.randrange(3) + rng.choice(["the", "Theatre", "def", "return", "x", "12", "2026", "==", "..."])
    first, end = rng.choice(ALPHABETS)
    return " " * rng.randrange(2) + "".join(chr(rng.randrange(first, end)) for _ in range(rng.randint(1, 8)))
