"""minillm's own file: one JSON object that rebuilds a tokenizer of any kind."""

from __future__ import annotations

import json
from pathlib import Path

from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer import Tokenizer, from_dict
from minillm.tokenizer.formats.reading import about, read_object

FORMAT = "minillm tokenizer"
VERSION = 1


def load(path: Path) -> Tokenizer:
    """The tokenizer in a file that `save` wrote. Raises UserError for another file, or one that was changed."""
    with about(path):
        content = read_object(path)
        if content.get("format") != FORMAT:
            raise UserError(f"the file does not say that it is a {FORMAT}: check that it is the right one")
        if content.get("version") != VERSION:
            raise UserError(
                f"the file has version {content.get('version')!r} of the format and this minillm reads {VERSION}: "
                "use the minillm that wrote it, or a newer one"
            )
        try:
            return from_dict(content["tokenizer"])
        except UserError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the fields of the tokenizer are damaged ({error}): get the file again") from error


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer to one file. Raises UserError if it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"format": FORMAT, "version": VERSION, "tokenizer": tokenizer.to_dict()}), "utf-8"
        )
