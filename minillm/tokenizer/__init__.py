"""Tokenizers: text to token ids and back. Plain NumPy; nothing here knows of models or training."""

from typing import Any

from minillm.errors import UserError
from minillm.tokenizer.base import Tokenizer
from minillm.tokenizer.bpe import BPETokenizer
from minillm.tokenizer.byte import ByteTokenizer
from minillm.tokenizer.char import CharTokenizer
from minillm.tokenizer.llama2c import Llama2cTokenizer

__all__ = [
    "TOKENIZERS",
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Llama2cTokenizer",
    "Tokenizer",
    "from_dict",
]

TOKENIZERS: dict[str, type[Tokenizer]] = {kind.name: kind for kind in (ByteTokenizer, CharTokenizer, BPETokenizer)}
# also what is not trained here
_STORED: dict[str, type[Tokenizer]] = {**TOKENIZERS, Llama2cTokenizer.name: Llama2cTokenizer}


def from_dict(fields: dict[str, Any]) -> Tokenizer:
    """The tokenizer whose `to_dict()` gave `fields`. Raises UserError for an unknown name or missing fields."""
    name = fields.get("name")
    if name not in _STORED:
        raise UserError(f"unknown tokenizer {name!r}; this version knows {', '.join(_STORED)}")
    arguments = {key: value for key, value in fields.items() if key != "name"}
    try:
        return _STORED[name].from_fields(arguments)
    except TypeError as error:
        raise UserError(
            f"the stored {name} tokenizer has the fields {sorted(arguments)}, which do not make one; "
            "use the file as this version of minillm wrote it"
        ) from error
