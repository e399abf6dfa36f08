"""The characters that stand for bytes in GPT-2's files, and in those of Hugging Face after them.

A byte that prints in Latin-1 is its own character. The others, the space among them, take the characters from U+0100
on, in their order: " " is "Ġ" (`bytes_to_unicode` in `encoder.py` of openai/gpt-2).
"""

from __future__ import annotations


def _characters() -> str:
    """The character of each byte, (256,)."""
    spare = iter(range(256, 512))
    return "".join(c if c.isprintable() and c != " " else chr(next(spare)) for c in map(chr, range(256)))


CHARACTERS = _characters()
_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


def to_characters(token: bytes) -> str:
    """The characters that stand for the bytes of a token."""
    return "".join(CHARACTERS[byte] for byte in token)


def from_characters(text: str) -> bytes:
    """The bytes that characters stand for. Raises KeyError with the first that stands for none."""
    return bytes(_BYTES[character] for character in text)
