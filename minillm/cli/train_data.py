"""What `minillm train` trains on: text with a tokenizer for it, or a folder of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import UserError
from minillm.cli.tokenizer_file import BPE_VOCAB_SIZE, compile_training, open_tokenizer
from minillm.data import STDLIB, open_tokens, read_corpus, split, write_tokens
from minillm.data.token_folder import TokenFolder, fingerprint, is_token_folder, open_token_folder
from minillm.tokenizer import TOKENIZERS, BPETokenizer, Tokenizer


@dataclass(frozen=True)
class TrainingData:
    """Tokens (n,) for training and validation, and the tokenizer that made them.

    Attributes:
        token_folder: where the tokens are, and what they must be still, if they are not the run's own.
    """

    tokenizer: Tokenizer
    train: NDArray[np.integer]
    val: NDArray[np.integer]
    description: str
    token_folder: dict[str, str] | None = None


def read_data(
    sources: Sequence[str], tokenizer: str | None, vocab_size: int | None, val_fraction: float, *, preset: str
) -> TrainingData:
    """The data that `--data` names.

    Args:
        tokenizer: a kind, which is trained, or a file; None for the kind `preset`, or the one a token folder has.

    Raises:
        UserError: it cannot be read, has no such tokenizer, or that has another vocab_size.
    """
    if any(source != STDLIB and is_token_folder(Path(source)) for source in sources):
        if len(sources) > 1:
            raise UserError(f"--data {' '.join(sources)} mixes a token folder with others: give one, or text only")
        data = _of_folder(open_token_folder(Path(sources[0])), sources[0], tokenizer, val_fraction)
    else:
        data = _of_text(sources, tokenizer or preset, vocab_size, val_fraction)
        if (tokenizer or preset) == BPETokenizer.name:
            return data  # its size was asked for, and it says so where the text gives less
    if vocab_size not in (None, data.tokenizer.vocab_size):
        raise UserError(
            f"vocab_size is {vocab_size}, but the {data.tokenizer.name} tokenizer of this data has "
            f"{data.tokenizer.vocab_size}: leave --vocab-size out"
        )
    return data


def _of_folder(folder: TokenFolder, name: str, tokenizer: str | None, val_fraction: float) -> TrainingData:
    if tokenizer is not None and (
        tokenizer in TOKENIZERS or fingerprint(open_tokenizer(tokenizer)) != fingerprint(folder.tokenizer)
    ):
        raise UserError(
            f"the tokens in {name!r} were made by another tokenizer than {tokenizer!r}: leave --tokenizer out to use "
            "theirs, or encode the text again"
        )
    train, val = split(folder.tokens, val_fraction)
    description = f"{name}: {folder.n_documents:,} documents"
    where = {"path": str(Path(name).resolve()), "digest": folder.digest}
    return TrainingData(folder.tokenizer, train, val, description, where)


def _of_text(sources: Sequence[str], name: str, vocab_size: int | None, val_fraction: float) -> TrainingData:
    if name not in TOKENIZERS and not Path(name).exists():
        raise UserError(
            f"unknown tokenizer {name!r}: choose one of {', '.join(TOKENIZERS)}, or give a tokenizer's file"
        )
    loaded = None if name in TOKENIZERS else open_tokenizer(name)
    corpus = read_corpus(sources)
    texts = split(corpus.text, val_fraction)
    if loaded is not None:
        tokenizer = loaded
    elif name == BPETokenizer.name:  # on the training split: it can write any text, and so learns nothing of the other
        compile_training()
        tokenizer = BPETokenizer.train(
            texts[0], vocab_size=BPE_VOCAB_SIZE if vocab_size is None else vocab_size, progress=True
        )
    else:
        tokenizer = TOKENIZERS[name].train(corpus.text)
    train, val = (tokenizer.encode_ordinary(text) for text in texts)
    return TrainingData(tokenizer, train, val, corpus.description)


def write_data(out: Path, data: TrainingData) -> None:
    """Keep the tokens in the run `out`, if they are not kept elsewhere. Raises UserError where that fails."""
    if data.token_folder is None:
        for path, tokens in zip(_token_files(out), (data.train, data.val), strict=True):
            write_tokens(path, tokens, data.tokenizer.vocab_size)


def open_data(
    out: Path, tokenizer: Tokenizer, token_folder: dict[str, str] | None, val_fraction: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The training and validation tokens of the run `out`, memory-mapped.

    Raises:
        UserError: they are not there, or not those that the run began with.
    """
    if token_folder is None:
        train, val = (open_tokens(path, tokenizer.vocab_size) for path in _token_files(out))
        return train, val
    folder = open_token_folder(Path(token_folder["path"]))
    if folder.digest != token_folder["digest"]:
        raise UserError(
            f"the tokens in {token_folder['path']!r} are no longer those that the run in {str(out)!r} began with: "
            "encode the same text again, or start another run with another --out"
        )
    return split(folder.tokens, val_fraction)


def _token_files(out: Path) -> tuple[Path, Path]:
    return out / "tokens" / "train.npy", out / "tokens" / "val.npy"
