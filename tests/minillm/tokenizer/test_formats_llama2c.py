"""llama2.c's tokenizer and its tokenizer.bin, against what run.c does."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from format_cases import SHARED, TEXTS, refused, trained
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import UserError
from minillm.tokenizer import Llama2cTokenizer, from_dict
from minillm.tokenizer.files import load_tokenizer, save_tokenizer

DREAMS = SHARED / "llama2c"
needs_dreams = pytest.mark.skipif(not DREAMS.exists(), reason="needs ../shared/data/llama2c beside the repository")

BYTES = [b"<0x%02X>" % byte for byte in range(256)]
FIRST = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *BYTES]


def small() -> Llama2cTokenizer:
    """Pieces of a few characters, some of which can be made in several ways, with scores that are often equal."""
    drawn = random.Random(0)
    pieces = [" ", "a", "b", "é", "你"]
    while len(pieces) < 60:
        piece = drawn.choice(pieces) + drawn.choice(pieces)
        if piece not in pieces and len(piece) < 8:
            pieces.append(piece)
    return Llama2cTokenizer(
        [*FIRST, *(piece.encode() for piece in pieces)],
        [0.0] * len(FIRST) + [drawn.choice([0.0, -1.5, -2.25, -1e6, 3.0]) for _ in pieces],
    )


SMALL = small()
LONGEST = max(map(len, SMALL.pieces))


def encode_as_run_c(text: str, pieces: list[bytes], scores: list[float]) -> list[int]:
    """`encode` of run.c, line by line, without BOS."""
    ids = [pieces.index(b" ")] if text else []
    for character in text:
        piece = character.encode()
        if piece in pieces:
            ids.append(pieces.index(piece))
        else:
            ids += [byte + 3 for byte in piece]
    while True:
        best_score, best_id, best_idx = -1e10, -1, -1
        for i in range(len(ids) - 1):
            joined = pieces[ids[i]] + pieces[ids[i + 1]]
            if joined in pieces and scores[pieces.index(joined)] > best_score:
                best_id, best_idx = pieces.index(joined), i
                best_score = scores[best_id]
        if best_idx == -1:
            return ids
        ids[best_idx : best_idx + 2] = [best_id]


@given(text=st.text(alphabet=st.sampled_from(" ab é你c🙂\n<0x1>"), max_size=25))
def test_ids_are_run_cs_and_give_the_text_back(text: str) -> None:
    ids = SMALL.encode_ordinary(text).tolist()
    assert ids == encode_as_run_c(text, SMALL.pieces, SMALL.scores)
    assert SMALL.decode(ids) == "".join(SMALL.decode_stream(ids)) == text
    assert SMALL.decode([1, *ids]) == "<s>" + text


def test_special_tokens_and_spaces() -> None:
    space, a = SMALL.pieces.index(b" "), SMALL.pieces.index(b"a")
    assert SMALL.special_tokens == {"<s>": 1, "</s>": 2}
    ids = SMALL.encode("<s>é</s>", allowed_special="all").tolist()
    assert (ids[0], ids[-1]) == (1, 2)
    assert SMALL.decode(ids) == "<s>é</s>"
    assert SMALL.decode([space, a, space, a]) == "a a"  # the first space is the one that was put in front
    assert SMALL.decode([space, a, 1, space, a, 2, space, a]) == "a<s>a</s> a"
    assert SMALL.decode_bytes([3, 3 + 0xF0, 0]) == b"\x00\xf0<unk>"
    assert SMALL.encode_ordinary("\0\u0420").tolist()[-3:] == [3, 3 + 0xD0, 3 + 0xA0]
    with pytest.raises(UserError, match="which is not allowed"):
        SMALL.encode("</s>")
    with pytest.raises(UserError, match="token id 999 at position 0"):
        list(SMALL.decode_stream([999]))
    with pytest.raises(UserError, match="not trained here but by sentencepiece"):
        Llama2cTokenizer.train("a")


@needs_dreams
def test_a_really_trained_models_text() -> None:
    tokenizer = load_tokenizer(DREAMS / "aidreams260K.tok512.bin")
    assert tokenizer.vocab_size == 512
    ids = [int(id) for id in (DREAMS / "aidreams260K.greedy_ids.txt").read_text().split()]
    text = tokenizer.decode(ids)
    assert text.startswith('"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, ')
    assert "".join(tokenizer.decode_stream(ids)) == text
    assert tokenizer.encode_ordinary(text).tolist() == ids
    assert [tokenizer.decode(tokenizer.encode_ordinary(other)) for other in TEXTS] == TEXTS


@needs_dreams
def test_its_file_is_written_byte_for_byte(tmp_path: Path) -> None:
    source = DREAMS / "aidreams260K.tok512.bin"
    save_tokenizer(load_tokenizer(source), tmp_path / "t.bin", "llama2c")
    assert (tmp_path / "t.bin").read_bytes() == source.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    save_tokenizer(SMALL, tmp_path / "t.bin", "llama2c")
    assert (tmp_path / "t.bin").read_bytes()[:21] == struct.pack("<ifi", LONGEST, 0.0, 5) + b"<unk>\0\0\0\0"
    for loaded in (load_tokenizer(tmp_path / "t.bin"), from_dict(SMALL.to_dict())):
        assert loaded.to_dict() == SMALL.to_dict()


def test_files_cut_short_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "t.bin"
    save_tokenizer(SMALL, path, "llama2c")
    data = path.read_bytes()

    def load() -> object:
        from minillm.tokenizer.formats import llama2c

        return llama2c.load(path)

    for content, message in [
        (b"", "the file has 0 bytes and no pieces"),
        (data[:4], "piece 3 is None and not '<0x00>'"),
        (data[:-1], f"the file ends inside piece {SMALL.vocab_size - 1}: it was cut short"),
        (data[:19], "the file ends inside piece 1: it was cut short"),
        (data[:17], "piece 3 is None"),
        (data[:1000], "the file ends inside piece"),
        (data[:8] + struct.pack("<i", -5) + data[12:], f"piece 0 has -5 bytes, of 1 to {LONGEST} as the file begins"),
        (data[:8] + struct.pack("<i", 99) + data[12:], "piece 0 has 99 bytes"),
        (struct.pack("<i", 4) + data[4:], "piece 0 has 5 bytes, of 1 to 4"),
        (b"{not a tokenizer.bin", "the file ends inside piece 0: it was cut short, or is no tokenizer.bin"),
    ]:
        path.write_bytes(content)
        refused(load, message)
        refused(load, str(path))


@pytest.mark.parametrize(
    ("pieces", "scores", "message"),
    [
        ([*FIRST, b" "], [0.0], "there are 260 pieces and 1 scores"),
        ([*FIRST], [0.0] * 259, "there is no piece ' '"),
        ([*FIRST[:3], *map(bytes, zip(range(1, 256), strict=True)), b" "], [0.0] * 259, "is there twice"),
        ([*FIRST, b" ", b" "], [0.0] * 261, "piece 260 is b' '"),
        ([*FIRST, b" ", b""], [0.0] * 261, "piece 260 is b''"),
        ([*FIRST, b" ", b"a\0"], [0.0] * 261, "piece 260 is b'a\\x00'"),
        ([b"x", *FIRST, b" "], [0.0] * 261, "piece 3 is b'\\n</s>\\n' and not '<0x00>'"),
        ([*FIRST, b" "], [0.0] * 259 + [float("nan")], "piece 259 has the score nan"),
        ([*FIRST, b" "], [0.0] * 259 + [-2e10], "piece 259 has the score -2"),
    ],
)
def test_pieces_that_run_c_could_not_use(pieces: list[bytes], scores: list[float], message: str) -> None:
    if message == "is there twice":
        message = "piece 258 is b' '"  # an early export: bytes as themselves
    refused(lambda: Llama2cTokenizer(pieces, scores), message)


def test_other_tokenizers_are_not_saved_so(tmp_path: Path) -> None:
    message = "a bpe tokenizer cannot be saved for llama2.c, whose run.c puts a space before a text"
    refused(lambda: save_tokenizer(trained(), tmp_path / "t.bin", "llama2c"), message)
    assert list(tmp_path.iterdir()) == []


def test_a_long_text_takes_no_quadratic_time() -> None:
    text = "".join(random.Random(1).choices(" abé你", k=20_000))
    assert len(SMALL.encode_ordinary(text)) < 16_000  # run.c's loop would look at 10**8 pairs
