"""Where words begin in UTF-8: the twin of `minillm.tokenizer.split.split_gpt2`.

GPT-2's pattern asks little: whether a word begins at a character follows from it, from the one before and from the one
after. A run of letters, of numbers or of others is one word, and so is a run of spaces but for its last; that one
joins the next word if it is a blank, and is a word by itself if not.

So each byte gets a mark, 1 where a word begins. A block of ASCII is marked by a loop without branches over three slices
that share one index, which becomes vector instructions of 64 bytes; other blocks one character after another, with the
table of classes. Then marks become a list of places, in which contractions ('s, 'll), which look farther, are mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autograd.jit import Bytes1, Int, Ints1, OutBytes1, jit
from minillm.tokenizer.base import utf8
from minillm.tokenizer.compiled.load import U, load8
from minillm.tokenizer.unicode_classes import SPACE, unicode_classes

CHUNK = 1 << 16  # characters that are worked at a time: the buffers for them stay in the core's cache
BEFORE, AFTER = 16, 64  # bytes of padding: kernels read a character back, and words 16 bytes at a time
BLOCK = 256  # bytes of which one beyond ASCII sends all to the slow loop

BLANK, APOSTROPHE, A, Z, ZERO, NINE, TAB, RETURN = (ord(symbol) for symbol in " 'az09\t\r")
LOWER = 32  # this bit of an ASCII letter makes it lower case
D, E, L, M, R, S, T, V = (ord(symbol) for symbol in "delmrstv")

GATHER = U(0x0102040810204080)  # eight bytes of 0 or 1 times this have them as the bits of the highest byte


def _bit_places() -> NDArray[np.int32]:
    """For each byte 9 numbers: the places of the bits that are set, some that do not matter, and how many are set."""
    table = np.zeros((256, 9), np.int32)
    for byte in range(256):
        places = [k for k in range(8) if byte >> k & 1]
        table[byte, : len(places)], table[byte, 8] = places, len(places)
    return table.reshape(-1)


BIT_PLACES = _bit_places()  # (2304,)  part of the compiled code

_EDGE = re.compile(r"\S(?=[ \n])")  # what is a space here is one to `re` too, which has some more


def chunks(text: str) -> Iterator[str]:
    """`text` in parts of CHUNK characters, or as many more as it takes to end at an edge.

    A word always begins at a space after something else, and what comes before has no part in it. So the words of the
    parts are the words of the text.
    """
    start = 0
    while start < len(text):
        edge = _EDGE.search(text, start + CHUNK - 1)
        end = edge.end() if edge else len(text)
        yield text[start:end]
        start = end


@jit(inline=True)
def is_space(byte: int) -> bool:
    """Whether an ASCII byte is one of `\\s`."""
    return (byte == BLANK) | ((byte >= TAB) & (byte <= RETURN))


@jit(inline=True)
def is_letter(byte: int) -> bool:
    """Whether an ASCII byte is a letter."""
    return ((byte | LOWER) >= A) & ((byte | LOWER) <= Z)


@jit(inline=True)
def is_number(byte: int) -> bool:
    """Whether an ASCII byte is a digit."""
    return (byte >= ZERO) & (byte <= NINE)


@jit(inline=True)
def mark_ascii(before: Bytes1, here: Bytes1, after: Bytes1, marks: OutBytes1) -> None:
    """Mark a block of ASCII (n,), given with what is one byte before and one byte after. No branches: `&` and `|`."""
    for k in range(here.shape[0]):
        b, p, q = here[k], before[k], after[k]
        space, space_before, space_after = is_space(b), is_space(p), is_space(q)
        same = (is_letter(b) == is_letter(p)) & (is_number(b) == is_number(p))  # class, if neither is a space
        of_space = space & ((not space_before) | (not space_after))
        of_other = (not space) & ((space_before & (p != BLANK)) | ((not space_before) & (not same)))
        marks[k] = of_space | of_other


@jit(inline=True)
def is_ascii(data: Bytes1) -> bool:
    """Whether all bytes (n,) are ASCII."""
    every = 0
    for k in range(data.shape[0]):
        every |= data[k]
    return bool(every < 128)


@jit(inline=True)
def is_inside(byte: int) -> bool:
    """Whether a byte is a later one of a character."""
    return (byte & 0xC0) == 0x80


@jit(inline=True)
def length_at(data: Bytes1, place: int) -> int:
    """Bytes of the character that begins at a place."""
    lead = data[place]
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


@jit(inline=True)
def class_at(data: Bytes1, place: int, classes: Bytes1) -> int:
    """The class of the character that begins at a place. `classes` are of the code points (0x110000,)."""
    length = length_at(data, place)
    code_point = int(data[place])
    if length > 1:
        code_point &= 0x7F >> length
        for k in range(1, length):
            code_point = code_point << 6 | int(data[place + k]) & 0x3F
    return int(classes[code_point])


@jit(inline=True)
def mark_unicode(data: Bytes1, start: int, end: int, classes: Bytes1, marks: OutBytes1) -> None:
    """Mark data[start:end], which may begin and end inside of a character."""
    before = start - 1
    while is_inside(data[before]):
        before -= 1
    class_before, blank_before = class_at(data, before, classes), data[before] == BLANK
    place = start
    while place < end:
        if is_inside(data[place]):
            marks[place] = 0
            place += 1
            continue
        kind = class_at(data, place, classes)
        if kind == SPACE:
            after = place + length_at(data, place)
            marks[place] = class_before != SPACE or class_at(data, after, classes) != SPACE
        elif class_before == SPACE:
            marks[place] = not blank_before
        else:
            marks[place] = kind != class_before
        class_before, blank_before = kind, data[place] == BLANK
        place += 1


@jit(inline=True)
def contraction(data: Bytes1, place: int) -> int:
    """Bytes of the contraction that an apostrophe at a place begins, or 0."""
    b, c = data[place + 1], data[place + 2]
    if b in (S, T, M, D):
        return 2
    if (b == R and c == E) or (b == V and c == E) or (b == L and c == L):
        return 3
    return 0


@jit(inline=True)
def list_starts(first: int, last: int, marks: OutBytes1, starts: Ints1) -> int:
    """The places that are marked, and `last` after them. Returns how many there are.

    Eight marks make a byte, and a table has the places of its bits. All eight are written, of which the next overwrite
    those that are none, and so no branch depends on the text.
    """
    n_starts = 0
    for place in range(first, last, 8):
        bits = np.int64((load8(marks, place) * GATHER) >> U(56))
        row = 9 * bits
        for k in range(8):
            starts[n_starts + k] = BIT_PLACES[row + k] + np.int32(place)
        n_starts += BIT_PLACES[row + 8]
    starts[n_starts] = last
    return n_starts


@jit(inline=True)
def join_contractions(data: Bytes1, n_starts: int, starts: Ints1) -> int:
    """Where an apostrophe begins a contraction, the next word begins after it. Returns how many words are left.

    The letters after it are a word so far, or its beginning ("'sa" is "'s", "a"): no word is ever added.
    """
    n_words, earliest = 0, 0
    for k in range(n_starts):
        place = max(int(starts[k]), earliest)
        if place < starts[k + 1]:
            starts[n_words] = place
            n_words += 1
            if data[place] == APOSTROPHE:
                earliest = place + contraction(data, place)
    starts[n_words] = starts[n_starts]
    return n_words


@jit()
def find_words(data: Bytes1, first: Int, last: Int, classes: Bytes1, marks: OutBytes1, starts: Ints1) -> Int:
    """The words of the text data[first:last].

    Args:
        data: UTF-8, with BEFORE bytes of padding before the text and AFTER bytes after it, all blanks, since the end
            of the text is to look like a space.
        first, last: the text.
        classes: of code points, (0x110000,).
        marks: as long as data; overwritten.
        starts: longer than the text by 9 at least; where each word begins, and last the end of the text.

    Returns:
        How many words there are, n: starts has n + 1 places.
    """
    start = first
    while start < last:
        end = min(start + BLOCK, last)
        if is_ascii(data[start - 1 : end + 1]):
            mark_ascii(data[start - 1 : end - 1], data[start:end], data[start + 1 : end + 1], marks[start:end])
        else:
            mark_unicode(data, start, end, classes, marks)
        start = end
    marks[first] = 1
    marks[last : last + 8] = 0  # listed eight at a time
    n_words: int = join_contractions(data, list_starts(first, last, marks, starts), starts)
    return n_words


class Words:
    """A chunk of text as bytes, and where its words begin. The arrays are used again and grow as chunks ask for it.

    Attributes:
        data: UTF-8, padded with blanks.
        starts: where in data each word begins, and at last the end of the last one.
        room: bytes of text that they are made for.
    """

    def __init__(self) -> None:
        self._make(4 * CHUNK)  # the characters of a chunk have up to 4 bytes

    def _make(self, room: int) -> None:
        assert room < 1 << 30  # places are int32
        self.room = room
        self.data = np.full(BEFORE + room + AFTER, BLANK, np.uint8)
        self._marks = np.empty(self.data.size, np.uint8)
        self.starts = np.empty(room + 9, np.int32)

    def find(self, chunk: str) -> int:
        """Take a chunk, and cut it as GPT-2 does. Returns the number of words, n: `starts` has n + 1 places."""
        n_bytes = self._take(utf8(chunk))
        if n_bytes == 0:
            return 0
        assert len(self.data) == len(self._marks) >= BEFORE + n_bytes + AFTER
        assert len(self.starts) >= n_bytes + 9
        n_words: int = find_words(self.data, BEFORE, BEFORE + n_bytes, unicode_classes(), self._marks, self.starts)
        return n_words

    def put(self, words: list[bytes]) -> int:
        """Take words that are cut already. Returns their number."""
        self._take(b"".join(words))
        assert len(self.starts) > len(words)
        self.starts[0] = BEFORE
        np.cumsum([len(word) for word in words], out=self.starts[1 : len(words) + 1])
        self.starts[1 : len(words) + 1] += BEFORE
        return len(words)

    def _take(self, text: bytes) -> int:
        """`text` into `data`. Returns its length."""
        n_bytes = len(text)
        if n_bytes > self.room:
            self._make(n_bytes + n_bytes // 4)
        end = BEFORE + n_bytes
        self.data[BEFORE:end] = np.frombuffer(text, np.uint8)
        self.data[end : end + AFTER] = BLANK
        return n_bytes
