"""Tokenizers as the command line names them: by their file, or by a folder that has it."""

from __future__ import annotations

from pathlib import Path

from minillm.cli.backend import show_compiling
from minillm.data.token_folder import TOKENIZER_FILE
from minillm.tokenizer import BPETokenizer, Tokenizer

BPE_VOCAB_SIZE = 4096  # of a BPE that is trained, unless a flag says otherwise


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer in a file of any format, or in a run, a token folder or another that has its tokenizer.json.

    Raises:
        UserError: there is none.
    """
    from minillm.tokenizer.files import load_tokenizer

    path = Path(name)
    tokenizer = load_tokenizer(path / TOKENIZER_FILE if (path / TOKENIZER_FILE).is_file() else path)
    compile_encoding(tokenizer)
    return tokenizer


def compile_encoding(tokenizer: Tokenizer) -> None:
    """Compile what encoding needs."""
    if isinstance(tokenizer, BPETokenizer):
        show_compiling(lambda: tokenizer.encode_ordinary("a b"))


def compile_training() -> None:
    """Compile what training a BPE needs, and encoding with it."""
    show_compiling(lambda: BPETokenizer.train("ab ab", vocab_size=257).encode_ordinary("ab"))
