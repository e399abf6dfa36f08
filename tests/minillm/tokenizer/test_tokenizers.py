import json
import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograd import jit
from minillm.errors import UserError
from minillm.tokenizer import TOKENIZERS, ByteTokenizer, CharTokenizer, Tokenizer, from_dict

some_text = st.text(min_size=1)  # Unicode without surrogates
each_kind = pytest.mark.parametrize("kind", TOKENIZERS.values(), ids=TOKENIZERS.keys())


@each_kind
@given(text=some_text)
def test_round_trip_also_through_json(kind: type[Tokenizer], text: str) -> None:
    tokenizer = kind.train(text)
    rebuilt = from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    assert ids.max() < tokenizer.vocab_size == rebuilt.vocab_size
    np.testing.assert_array_equal(rebuilt.encode(text), ids)
    assert rebuilt.decode(ids) == text
    assert rebuilt.decode_bytes(ids.tolist()) == text.encode()


@given(data=st.binary())
def test_streamed_pieces_join_to_the_whole_for_any_bytes(data: bytes) -> None:
    assert "".join(ByteTokenizer().decode_stream(data)) == data.decode("utf-8", errors="replace")


def test_stream_holds_back_unfinished_characters() -> None:
    assert list(ByteTokenizer().decode_stream("aé€🙂".encode())) == ["a", "é", "€", "🙂"]
    assert list(ByteTokenizer().decode_stream("a🙂".encode()[:-1])) == ["a", "\ufffd"]


def test_byte_ids_are_the_utf8_bytes() -> None:
    assert ByteTokenizer().vocab_size == 256
    assert ByteTokenizer().encode("hé\n").tolist() == [0x68, 0xC3, 0xA9, 0x0A]


def test_char_ids_are_places_in_the_sorted_set() -> None:
    tokenizer = CharTokenizer.train("hello world")
    assert tokenizer.characters == " dehlorw"
    assert tokenizer.encode("hold").tolist() == [3, 5, 4, 1]


@each_kind
def test_no_tokens(kind: type[Tokenizer]) -> None:
    tokenizer = kind.train("a")
    assert tokenizer.encode("").tolist() == []
    assert tokenizer.decode([]) == ""


@pytest.mark.skipif(not jit.ENABLED, reason="without compiled kernels Python loops over the characters")
@each_kind
def test_no_python_loop_runs_over_a_text(kind: type[Tokenizer]) -> None:
    text = "To be, or not to be: that is the question.\n" * 2500
    tokenizer = kind.train(text)
    tokenizer.encode("To be")  # what runs once, such as imports
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    tracer = sys.gettrace()
    sys.settrace(count)
    try:
        ids = tokenizer.encode(text)
    finally:
        sys.settrace(tracer)
    assert lines < len(text) / 50
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("unknown", ["z", "é", "Æ", "\U0010ffff", "\ud800"])
def test_unknown_character_is_named_with_its_place_and_the_vocabulary(unknown: str) -> None:
    with pytest.raises(UserError) as raised:
        CharTokenizer.train("abc").encode("ab" + unknown + "a")
    assert f"character {unknown!r} at position 2 is not in this vocabulary of 3 characters" in str(raised.value)


def test_what_utf8_cannot_express() -> None:
    assert ByteTokenizer().encode("a\udc80").tolist() == [0x61, 0xEF, 0xBF, 0xBD]  # U+FFFD, as tiktoken does
    assert ByteTokenizer().decode(ByteTokenizer().encode("\ud83d\ude42")) == "\U0001f642"  # two halves: the character
    with pytest.raises(UserError, match="no lone surrogate"):
        CharTokenizer.train("a\udc80")


@each_kind
@pytest.mark.parametrize("wrong", [-1, 256, 2**40])
def test_id_outside_the_vocabulary(kind: type[Tokenizer], wrong: int) -> None:
    with pytest.raises(UserError, match=f"token id {wrong} at position 1 is not in this vocabulary"):
        kind.train("ab").decode([0, wrong, 0])


def test_ids_that_are_no_row_of_integers() -> None:
    for ids in ([0.0], [[0]], 0):
        with pytest.raises(TypeError, match="one row of integers"):
            ByteTokenizer().decode(ids)


@pytest.mark.parametrize("characters", ["", "aba"])
def test_unusable_vocabulary(characters: str) -> None:
    with pytest.raises(UserError, match="none twice"):
        CharTokenizer(characters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "wordpiece"}, "unknown tokenizer 'wordpiece'; this version knows byte, char, bpe"),
        ({}, "unknown tokenizer None"),
        ({"name": "char"}, r"char tokenizer has the fields \[\]"),
        ({"name": "byte", "characters": "ab"}, r"byte tokenizer has the fields \['characters'\]"),
    ],
)
def test_fields_that_make_no_tokenizer(fields: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(fields)
