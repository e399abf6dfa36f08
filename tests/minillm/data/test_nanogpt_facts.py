"""The numbers that nanoGPT's data/shakespeare_char/readme.md and prepare.py print for tinyshakespeare."""

from pathlib import Path

import pytest

from minillm.data import read_corpus, split
from minillm.tokenizer import CharTokenizer

SHAKESPEARE = Path(__file__).resolve().parents[4] / "shared" / "data" / "tinyshakespeare.txt"


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="needs ../shared/data/tinyshakespeare.txt beside the repository")
def test_tinyshakespeare() -> None:
    text = read_corpus([str(SHAKESPEARE)]).text
    assert len(text) == 1_115_394
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.characters == "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert tokenizer.vocab_size == 65
    train, validation = split(text)
    assert len(tokenizer.encode(train)) == 1_003_854
    assert len(tokenizer.encode(validation)) == 111_540
