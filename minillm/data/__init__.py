"""Text to training batches: read a corpus, split it, keep its tokens in a file, cut windows. Plain NumPy."""

from minillm.data.corpus import STDLIB, Corpus, iter_texts, list_files, read_corpus
from minillm.data.loader import Loader, windows
from minillm.data.split import split
from minillm.data.token_file import open_tokens, token_dtype, write_token_parts, write_tokens

__all__ = [
    "STDLIB",
    "Corpus",
    "Loader",
    "iter_texts",
    "list_files",
    "open_tokens",
    "read_corpus",
    "split",
    "token_dtype",
    "windows",
    "write_token_parts",
    "write_tokens",
]
