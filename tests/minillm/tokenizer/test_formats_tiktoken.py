"""tiktoken's ranks: ids as tiktoken gives them, both ways."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from format_cases import END, GPT2, ids_of, needs_gpt2, refused, trained

from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.files import load_tokenizer, save_tokenizer
from minillm.tokenizer.split import PATTERNS
from minillm.tokenizer.vocabulary import Vocabulary


@pytest.fixture
def peer() -> Any:
    pytest.importorskip("tiktoken", reason="tiktoken is an optional peer")
    import tiktoken.load

    return tiktoken


def theirs(peer: Any, path: Path, pattern: str, special_tokens: dict[str, int]) -> Any:
    ranks = {
        base64.b64decode(token): int(rank) for token, rank in (line.split() for line in path.read_bytes().splitlines())
    }
    return peer.Encoding("t", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens=special_tokens)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_ids_are_tiktokens(tmp_path: Path, peer: Any, pattern: str) -> None:
    tokenizer = trained(pattern)
    path = tmp_path / "t.tiktoken"
    save_tokenizer(tokenizer, path, "tiktoken")
    special = {END: 700, "<|endofprompt|>": 610}
    loaded = load_tokenizer(path, pattern=pattern, special_tokens=special)
    assert isinstance(loaded, BPETokenizer)
    assert loaded.special_tokens == special
    assert loaded.vocabulary.tokens == tokenizer.vocabulary.tokens
    assert set(loaded.vocabulary.merges) > set(tokenizer.vocabulary.merges)
    assert ids_of(loaded) == ids_of(theirs(peer, path, pattern, special))
    save_tokenizer(loaded, tmp_path / "again", "tiktoken")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_special_tokens_in_front(tmp_path: Path, peer: Any) -> None:
    small = trained().vocabulary
    shifted = Vocabulary([None, *small.tokens], [(left + 1, right + 1) for left, right in small.merges])
    save_tokenizer(BPETokenizer(shifted, special_tokens={END: 0}), tmp_path / "t", "tiktoken")
    loaded = load_tokenizer(tmp_path / "t", pattern="gpt2", special_tokens={END: 0})
    assert ids_of(loaded) == ids_of(theirs(peer, tmp_path / "t", "gpt2", {END: 0}))
    refused(lambda: load_tokenizer(tmp_path / "t", pattern="gpt2"), "no token has the id 0, though ids go up to 599")


@needs_gpt2
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_ranks_of_gpt2(tmp_path: Path, peer: Any, pattern: str) -> None:
    gpt2 = load_tokenizer(GPT2)
    path = tmp_path / "r50k.tiktoken"
    save_tokenizer(gpt2, path, "tiktoken")
    loaded = load_tokenizer(path, pattern=pattern, special_tokens={END: 50256})
    assert ids_of(loaded) == ids_of(theirs(peer, path, pattern, {END: 50256}))
    if pattern == "gpt2":
        assert ids_of(loaded) == ids_of(gpt2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("IQ== x", "line 3 is 'IQ== x' and not a token in base64, a space and its rank"),
        ("IQ==", "line 3 is 'IQ==' and not"),
        ("I! 2", "line 3 is 'I! 2' and not"),
        ("IQ= 2", "line 3 is 'IQ= 2' and not"),
        ("IQ== 2 3", "line 3 is 'IQ== 2 3' and not"),
        ("", "line 3 is '' and not"),
        ("IQ== 2", "line 3 has b'!' again, whose rank is 0: give each"),
        ("enp6 1", "token 1 is b'zzz' and also b'\"'"),
        ("enp6 -1", "token b'zzz' has the id -1"),
        ("enp6 2000", "no token has the id 2, though ids go up to 2000"),
        ("enp6 2", "has no token for the byte 0x23"),
    ],
)
def test_lines_that_are_no_ranks(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "t"
    save_tokenizer(trained(), path, "tiktoken")
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    refused(lambda: load_tokenizer(path, pattern="gpt2"), message)
    refused(lambda: load_tokenizer(path, pattern="gpt2"), str(path))


def test_what_a_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "t"
    save_tokenizer(trained(), path, "tiktoken")
    refused(lambda: load_tokenizer(path), "come without a split pattern: give the pattern, such as 'cl100k'")
    refused(lambda: load_tokenizer(path, pattern="("), "is no regular expression")
    refused(lambda: load_tokenizer(path, pattern="gpt2", special_tokens={END: 5}), "and also 'a special one'")
    data = path.read_bytes()
    path.write_bytes(data[:1000])
    refused(lambda: load_tokenizer(path, pattern="gpt2"), "line 124 is 'vw=' and not")
    path.write_bytes(data[: data.index(b" 100\n") + 5])
    refused(lambda: load_tokenizer(path, pattern="gpt2"), "has no token for the byte")


def test_vocabularies_that_tiktoken_would_merge_otherwise(tmp_path: Path) -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"bc"]
    a, b, c = b"abc"
    backwards = BPETokenizer(Vocabulary(tokens, [(b, c), (a, b)]))
    refused(lambda: save_tokenizer(backwards, tmp_path / "t", "tiktoken"), "token 257 is made before token 256")
    never = BPETokenizer(Vocabulary(tokens, [(a, b)]))
    refused(lambda: save_tokenizer(never, tmp_path / "t", "tiktoken"), "the bytes of token 257, b'bc', do not merge")
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_ranks_do_not_make(tmp_path: Path) -> None:
    """tiktoken looks whole words up first, and so finds it; merges do not."""
    path = tmp_path / "t"
    save_tokenizer(trained(), path, "tiktoken")
    path.write_bytes(path.read_bytes() + base64.b64encode(b"qzzq") + b" 599\n")
    refused(lambda: load_tokenizer(path, pattern="gpt2"), "the bytes of token 599, b'qzzq', do not merge to it")
