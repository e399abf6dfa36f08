"""Token folders: the tokens of many documents in one token file, with the tokenizer that made them.

  FOLDER/tokenizer.json   the tokenizer
  FOLDER/index.json       what was asked for; when all is done, also the token file and where in it each document is
  FOLDER/tokens-*.npy     the documents one after another, each with the end-of-text token behind it
  FOLDER/parts/           documents that are done while others are not, by the SHA-256 of their files

The index is written last, so it never names a token file that is not whole.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.token_file import open_tokens
from minillm.errors import UserError
from minillm.files import replacing
from minillm.tokenizer import Tokenizer
from minillm.tokenizer.files import load_tokenizer

INDEX_FILE, TOKENIZER_FILE = "index.json", "tokenizer.json"
FORMAT = "minillm tokens 1"


@dataclass(frozen=True)
class TokenFolder:
    """A token folder that is done: its tokens (n,), memory-mapped, and how many documents they are."""

    tokens: NDArray[np.unsignedinteger]
    n_documents: int
    tokenizer: Tokenizer
    digest: str  # equal digests, equal tokens


def is_token_folder(path: Path) -> bool:
    return (path / INDEX_FILE).is_file() and read_index(path).get("format") == FORMAT


def open_token_folder(folder: Path) -> TokenFolder:
    """The tokens and the tokenizer of a folder.

    Raises:
        UserError: it is not done, or the tokenizer or the token file in it is another than the index says.
    """
    index = read_index(folder)
    if index.get("format") != FORMAT:
        raise UserError(f"{str(folder)!r} is no token folder: give one that `minillm tokenizer encode` wrote")
    if "tokens" not in index:
        raise UserError(
            f"the tokens in {str(folder)!r} are not all there, encoding was stopped: "
            "run the same `minillm tokenizer encode` again, which goes on"
        )
    tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
    if fingerprint(tokenizer) != index["tokenizer"]:
        raise UserError(
            f"{str(folder / TOKENIZER_FILE)!r} is not the tokenizer that made the tokens beside it: "
            "put it back, or encode the text again into another folder"
        )
    tokens = open_tokens(folder / index["tokens"], tokenizer.vocab_size)
    if len(tokens) != index["n_tokens"]:
        raise UserError(
            f"{str(folder / index['tokens'])!r} has {len(tokens):,} tokens and {INDEX_FILE} says "
            f"{index['n_tokens']:,}: delete the folder and encode the text again"
        )
    return TokenFolder(tokens, len(index["documents"]), tokenizer, digest(index))


def read_index(folder: Path) -> dict[str, Any]:
    """Raises UserError where there is none, or it is damaged."""
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}: give a token folder") from error
    except ValueError as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): delete the folder and encode the text again") from error
    return index if isinstance(index, dict) else {}


def write_index(folder: Path, index: dict[str, Any]) -> None:
    """Raises UserError where it cannot be written; an earlier one is unchanged."""
    with replacing(folder / INDEX_FILE) as temporary:
        temporary.write_text(json.dumps(index), encoding="utf-8")


def fingerprint(tokenizer: Tokenizer) -> str:
    """Equal for tokenizers that give equal ids."""
    return digest(tokenizer.to_dict())


def digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
