"""Hugging Face's tokenizer.json: ids as its own library gives them, both ways."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from format_cases import END, TEXTS, changed, ids_of, refused, trained

from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.files import load_tokenizer, save_tokenizer
from minillm.tokenizer.vocabulary import Vocabulary


@pytest.fixture
def peer() -> Any:
    return pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is an optional peer")


def trained_by(peer: Any, pre_tokenizer: Any) -> Any:
    """A tokenizer with special tokens in front, as Hugging Face trains it."""
    tokenizer = peer.Tokenizer(peer.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = peer.decoders.ByteLevel()
    trainer = peer.trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<pad>", END],
        initial_alphabet=peer.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def same_ids(ours: Any, theirs: Any) -> bool:
    """On TEXTS, and on random strings of what splits and merges differ in."""
    parts = [
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "'s",
        "'S",
        "'LL",
        "a",
        "aa",
        "aaa",
        "the",
        " the",
        "1",
        "1234567",
        "é",
        "你",
    ]
    parts += ["\u017f", "\u212a", "\u00a0", "\u0300", END, "!!", "==", "\u2028", "🙂", "x\u0661", "<|end"]
    drawn = random.Random(0)
    for _ in range(1000):
        text = "".join(drawn.choices(parts, k=drawn.randrange(12)))
        ids = ours.encode(text, allowed_special="all").tolist()
        assert ids == theirs.encode(text).ids, text
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids) == text
    return ids_of(ours) == ids_of(theirs)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", r"\w+|[^\w\s]+|\s+"])
def test_what_we_save_opens_there(tmp_path: Path, peer: Any, pattern: str) -> None:
    tokenizer = trained(pattern)
    save_tokenizer(tokenizer, tmp_path / "t.json", "huggingface")
    theirs = peer.Tokenizer.from_file(str(tmp_path / "t.json"))
    assert theirs.token_to_id(END) == tokenizer.special_tokens[END]
    assert same_ids(tokenizer, theirs)
    loaded = load_tokenizer(tmp_path / "t.json")
    assert loaded.to_dict() == tokenizer.to_dict()
    theirs.save(str(tmp_path / "again.json"))  # in today's form, merges as lists
    assert load_tokenizer(tmp_path / "again.json").to_dict() == tokenizer.to_dict()


def test_text_that_a_pattern_leaves_out(tmp_path: Path, peer: Any) -> None:
    tokenizer = BPETokenizer(trained().vocabulary, pattern=r"\p{L}+")
    save_tokenizer(tokenizer, tmp_path / "t.json", "huggingface")
    assert tokenizer.decode(tokenizer.encode("ab, cd!")) == "abcd"
    assert ids_of(tokenizer) == ids_of(peer.Tokenizer.from_file(str(tmp_path / "t.json")))


def test_special_tokens_behind_a_gap_keep_their_ids(tmp_path: Path, peer: Any) -> None:
    tokenizer = BPETokenizer(trained().vocabulary, special_tokens={"<a>": 700, "<ab>": 800, "x y": 750})
    save_tokenizer(tokenizer, tmp_path / "t.json", "huggingface")
    theirs = peer.Tokenizer.from_file(str(tmp_path / "t.json"))
    text = "<a><ab> x y<a"
    assert tokenizer.encode(text, allowed_special="all").tolist() == theirs.encode(text).ids
    assert {700, 750, 800} <= set(theirs.encode(text).ids)
    assert load_tokenizer(tmp_path / "t.json").special_tokens == tokenizer.special_tokens


def test_what_it_trains_loads_here(tmp_path: Path, peer: Any) -> None:
    theirs = trained_by(peer, peer.pre_tokenizers.ByteLevel(add_prefix_space=False))
    theirs.post_processor = peer.processors.ByteLevel(trim_offsets=False)
    theirs.save(str(tmp_path / "t.json"))
    ours = load_tokenizer(tmp_path / "t.json")
    assert ours.special_tokens == {"<pad>": 0, END: 1}
    assert ours.vocab_size == theirs.get_vocab_size() == 700
    assert same_ids(ours, theirs)
    old = changed(
        tmp_path / "t.json",
        tmp_path / "old.json",
        lambda content: content["model"].update(merges=[" ".join(pair) for pair in content["model"]["merges"]]),
    )
    assert load_tokenizer(old).to_dict() == ours.to_dict()
    save_tokenizer(ours, tmp_path / "back.json", "huggingface")
    assert same_ids(ours, peer.Tokenizer.from_file(str(tmp_path / "back.json")))


@pytest.mark.parametrize("behavior", ["isolated", "removed"])
def test_another_split_pattern(tmp_path: Path, peer: Any, behavior: str) -> None:
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    )
    split = peer.pre_tokenizers.Split(peer.Regex(pattern), behavior, invert=behavior == "removed")
    byte_level = peer.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    theirs = trained_by(peer, peer.pre_tokenizers.Sequence([split, byte_level]))
    theirs.save(str(tmp_path / "t.json"))
    ours = load_tokenizer(tmp_path / "t.json")
    assert isinstance(ours, BPETokenizer)
    assert ours.pattern == pattern
    assert same_ids(ours, theirs)


def test_merges_of_one_token_that_stand_together(tmp_path: Path, peer: Any) -> None:
    """What was made of tiktoken's ranks has every way to make a token."""
    tokenizer = trained()
    ids, ranks = tokenizer.vocabulary.ids, tokenizer.vocabulary.ids.get
    cuts = [
        (ids[token[:i]], ids[token[i:]])
        for token in sorted(ids, key=ids.__getitem__)
        for i in range(1, len(token))
        if ranks(token[:i]) is not None and ranks(token[i:]) is not None
    ]
    every = BPETokenizer(Vocabulary(tokenizer.vocabulary.tokens, cuts), special_tokens=tokenizer.special_tokens)
    assert len(cuts) > len(tokenizer.vocabulary.merges)
    save_tokenizer(every, tmp_path / "t.json", "huggingface")
    changed(tmp_path / "t.json", tmp_path / "t.json", lambda content: content["model"].update(ignore_merges=True))
    assert same_ids(load_tokenizer(tmp_path / "t.json"), peer.Tokenizer.from_file(str(tmp_path / "t.json")))


def set_in(part: str, **values: Any) -> Callable[[Any], None]:
    """A change of fields of a part of the file; "" is the file itself."""
    return lambda content: (content[part] if part else content).update(values)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def split_by(expression: str, **values: Any) -> Callable[[Any], None]:
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False, **values}
    return set_in("", pre_tokenizer={"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("", normalizer={"type": "NFC"}), 'normalizer {"type": "NFC"} is nothing that minillm'),
        (set_in("", added_tokens=5), "added_tokens 5"),
        (set_in("", padding={"strategy": "Fixed"}), "padding "),
        (set_in("", truncation={"max_length": 3}), "truncation "),
        (set_in("", post_processor={"type": "TemplateProcessing"}), 'post_processor {"type": "TemplateProcessing"'),
        (set_in("", decoder={"type": "Metaspace"}), "decoder "),
        (set_in("", pre_tokenizer={"type": "Whitespace"}), 'pre_tokenizer {"type": "Whitespace"}'),
        (set_in("", pre_tokenizer=None), "pre_tokenizer null"),
        (set_in("", pre_tokenizer={"type": "Sequence", "pretokenizers": []}), "pre_tokenizer "),
        (set_in("", pre_tokenizer=BYTE_LEVEL), "pre_tokenizer "),
        (set_in("pre_tokenizer", add_prefix_space=True), '"add_prefix_space": true'),
        (split_by("a", behavior="MergedWithNext"), "MergedWithNext"),
        (split_by("a", pattern={"String": " "}), '"String"'),
        (split_by(r"\p{N}{1,3}+"), "has '{1,3}+', which Hugging Face's regular expressions read otherwise"),
        (split_by("("), "is no regular expression"),
        (set_in("model", type="WordPiece"), "the model is 'WordPiece'"),
        (set_in("", model={"type": "Unigram", "vocab": []}), "the model is 'Unigram'"),
        (set_in("model", dropout=0.1), "dropout 0.1"),
        (set_in("model", end_of_word_suffix="</w>"), "end_of_word_suffix </w>"),
        (set_in("model", vocab=[]), "has no vocab with merges"),
        (set_in("model", merges=[["a"]]), "merge 0 is ['a'] and not two tokens"),
        (set_in("model", merges=["a b c"]), "merge 0 is 'a b c' and not two tokens"),
        (set_in("model", merges=[["a", "\u4e2d"]]), "'\u4e2d' is no token of the vocabulary"),
        (set_in("model", vocab={"a": 0}, merges=[]), "has no token for the byte"),
        (lambda c: c["model"]["vocab"].pop("a"), "no token has the id 64"),
        (lambda c: c["model"]["merges"].append(c["model"]["merges"][0]), "is there twice"),
        (lambda c: c["model"]["vocab"].update({END: 5000}), f"the added token '{END}' has the ids 599 and 5000"),
        (lambda c: c["added_tokens"][0].update(lstrip=True), f"lstrip of the added token '{END}'"),
        (lambda c: c["added_tokens"][0].update(id="1"), "has the id '1'"),
        (lambda c: c["added_tokens"].append(c["added_tokens"][0]), "one that is there twice"),
    ],
)
def test_what_it_does_and_we_do_not(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    save_tokenizer(trained(), tmp_path / "t.json", "huggingface")
    path = changed(tmp_path / "t.json", tmp_path / "t.json", change)
    refused(lambda: load_tokenizer(path), message)
    refused(lambda: load_tokenizer(path), str(path))


def test_merges_and_tokens_that_make_a_difference(tmp_path: Path) -> None:
    """The merges of one token apart from each other, and with ignore_merges a token that no merges make."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"bc", b"xy", b"abc"]
    a, b, c, x, y = b"abcxy"
    apart = [(a, b), (b, c), (256, c), (x, y), (a, 257)]
    save_tokenizer(BPETokenizer(Vocabulary(tokens, apart)), tmp_path / "t.json", "huggingface")
    load_tokenizer(tmp_path / "t.json")  # saved together
    changed(tmp_path / "t.json", tmp_path / "t.json", lambda content: content["model"]["merges"].insert(3, "x y"))
    changed(tmp_path / "t.json", tmp_path / "t.json", lambda content: content["model"]["merges"].pop())
    refused(lambda: load_tokenizer(tmp_path / "t.json"), "merge 4 makes token 259, which an earlier merge makes too")
    save_tokenizer(BPETokenizer(Vocabulary(tokens, apart[:2])), tmp_path / "t.json", "huggingface")
    load_tokenizer(tmp_path / "t.json")
    changed(tmp_path / "t.json", tmp_path / "t.json", set_in("model", ignore_merges=True))
    refused(lambda: load_tokenizer(tmp_path / "t.json"), "the bytes of token 258, b'xy', do not merge to it")


def test_files_cut_short_and_others(tmp_path: Path) -> None:
    save_tokenizer(trained(), tmp_path / "t.json", "huggingface")
    path = tmp_path / "t.json"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(lambda: load_tokenizer(path), "is no JSON, or was cut short")
    path.write_text(json.dumps({"model": {"type": "BPE"}, "pre_tokenizer": {**BYTE_LEVEL, "use_regex": True}}), "utf-8")
    refused(lambda: load_tokenizer(path), "has no vocab with merges")


@pytest.mark.parametrize("pattern", [r"\p{N}{1,3}+|.", r"a$|.", r"^a|[^a]", r"\h|a"])
def test_patterns_that_it_reads_otherwise_are_not_saved(tmp_path: Path, pattern: str) -> None:
    tokenizer = BPETokenizer(trained().vocabulary, pattern=pattern)
    refused(lambda: save_tokenizer(tokenizer, tmp_path / "t.json", "huggingface"), "read otherwise than Python's")
    assert list(tmp_path.iterdir()) == []
