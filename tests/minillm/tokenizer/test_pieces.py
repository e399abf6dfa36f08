import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.tokenizer.pieces import in_pieces, parts_of
from minillm.tokenizer.split import PATTERNS, splitter

# what splits decide by: letters, numbers, others, contractions, blanks, line ends and rarer spaces
symbols = st.sampled_from([*"aB1_.'\u2019sé中²\u0301 \n\r\t\u3000\xa0\x1c\x85🙂", "\n\n", "'ll", " a", "\na", ".\n"])
texts = st.lists(st.lists(symbols, max_size=30).map("".join), max_size=6)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(parts=texts, size=st.integers(1, 20))
@example(parts=["a.\n", "\nb c"], size=1)
def test_pieces_join_to_the_text_and_are_cut_into_its_words(pattern: str, parts: list[str], size: int) -> None:
    text = "".join(parts)
    pieces = list(in_pieces(parts, size))
    assert "".join(pieces) == text
    assert "" not in pieces
    split = splitter(pattern)
    assert [word for piece in pieces for word in split(piece)] == split(text)


def test_prose_and_chinese_and_lists_of_words_have_places_to_be_cut_at() -> None:
    for line in ("No word lies across two pieces.\n", "他说你好。\n", "word\n", "x = 1\n\n\n    y = 2\n"):
        pieces = list(in_pieces(parts_of(line * 1000, 500), 500))
        assert max(map(len, pieces)) < 1000, line


def test_text_without_a_place_to_cut_is_one_piece() -> None:
    text = "ab\n\n" * 3000
    assert list(in_pieces(parts_of(re.sub(r"\s", "", text), 500), 500)) == ["ab" * 3000]
