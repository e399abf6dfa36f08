"""The figures as Markdown: all of them, and the short table of the README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.tokenizer import learning
from benchmarks.tokenizer.encoding import DOCUMENTS, HUGGING_FACE, NEW, NUMPY, ORDINARY, REFERENCE, WARM
from benchmarks.tokenizer.texts import LONGEST

Report = dict[str, Any]
LEARNED = ((LONGEST, "32000"), ("tinyshakespeare", "4096"))  # what the README shows of training


def lines(report: Report) -> list[str]:
    """Every figure."""
    parts = [
        *_speeds("encode, MB/s, one thread", report["encode"]),
        *_speeds("encode, MB/s, two threads", report["encode_two_threads"]),
        *_table("us a call, by characters", report["short"], "us", "{:.2f}".format),
        *_table("seconds for characters without a cut", report["without_cuts"], "seconds", "{:.3f}".format),
    ]
    for text, sizes in report["train"].items():
        parts += _table(f"seconds to learn from {text}, by tokens", sizes, "seconds", "{:.3f}".format)
    if "starts" in report:
        starts = {job: {when: {"s": s} for when, s in row.items()} for job, row in report["starts"].items()}
        parts += _table("seconds of a process to its first result", starts, "s", "{:.2f}".format)
    if "memory" in report:
        parts += [f"{what.replace('_', ' ')}: {mb:.0f}" for what, mb in report["memory"].items()]
    return parts


def readme(report: Report) -> list[str]:
    """The short tables: every text, the largest vocabulary, and what is slower than a peer."""
    encode = report["encode"]
    contestants = [who for who in (WARM, NEW, REFERENCE, NUMPY, ORDINARY, HUGGING_FACE) if who in encode[LONGEST]]
    rows = [_row("encode, MB/s, one thread", encode), "|" + "---|" * (len(encode) + 1)]
    rows += [_row(who, [_number(row[who]["MB/s"]) for row in encode.values()]) for who in contestants]
    for who in (WARM, NEW):
        rows.append(_row(f"{who} / {NUMPY}", [_times(row[who].get(f"/ {NUMPY}")) for row in encode.values()]))
    rows += ["", _row("", ["minillm", "tiktoken", "HF tokenizers", "rustbpe"]), "|---|---|---|---|---|"]
    return rows + [_row(head, [*cells, *[""] * (4 - len(cells))]) for head, *cells in _beside_peers(report)]


def _beside_peers(report: Report) -> Iterator[list[str]]:
    """What is measured, and the figures of ours, tiktoken, Hugging Face and rustbpe, as far as they have one."""
    for text, vocab_size in LEARNED:
        if row := report["train"].get(text, {}).get(vocab_size):
            theirs = [_times_of(row.get(who)) for who in (learning.HUGGING_FACE, learning.RUSTBPE)]
            ours = _number(row[learning.API]["seconds"])
            yield [f"learn {int(vocab_size):,} tokens from {text}, seconds", ours, "", *theirs]
    two = report["encode_two_threads"][LONGEST]
    best = max((two[who]["MB/s"] for who in (ORDINARY, NUMPY) if who in two), default=None)
    yield [f"encode {LONGEST} in documents, two threads, MB/s", _number(two[DOCUMENTS]["MB/s"]), _number(best)]
    short, runs = report["short"], report["without_cuts"].values()
    us = [" / ".join(_number(row.get(who, {}).get("us")) for row in short.values()) for who in (WARM, ORDINARY)]
    yield [f"encode {' / '.join(short)} characters, microseconds", *us]
    slowest = [
        _number(max((run[who].get("seconds", 0) for run in runs if who in run), default=None)) for who in (WARM, NUMPY)
    ]
    fails = ", ".join(name for name, run in report["without_cuts"].items() if "fails" in run.get(NUMPY, {}))
    slowest[1] += f" ({fails}: fails)" if fails else ""
    yield [f"1,000,000 characters without a cut, slowest of {len(runs)} kinds, seconds", *slowest]
    starts = report["starts"]
    ours = f"{_number(starts['encode']['cached_s'])}; the first ever {_number(starts['encode']['cold_s'])}"
    yield [
        "start, read the vocabulary, encode a line, end; seconds",
        ours,
        _number(starts.get("tiktoken", {}).get("cached_s")),
    ]
    yield ["peak memory of learning 32,000 tokens from files, MB", _number(report["memory"]["peak_MB"])]


def _speeds(head: str, by_text: Report) -> list[str]:
    return [
        *_table(head, by_text, "MB/s", _number),
        *_table("speed / encode_to_numpy", by_text, f"/ {NUMPY}", _times),
        *_table("speed / encode_ordinary", by_text, f"/ {ORDINARY}", _times),
    ]


def _table(head: str, columns: Report, field: str, shown: Any) -> list[str]:
    """A row for each contestant and a column for each text; nothing if there is no such field."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    cells = {name: [column.get(name, {}).get(field) for column in columns.values()] for name in names}
    if all(cell is None for row in cells.values() for cell in row):
        return []
    rows = [_row(name, ["-" if cell is None else shown(cell) for cell in row]) for name, row in cells.items()]
    return [_row(head, columns), "|" + "---|" * (len(columns) + 1), *rows, ""]


def _row(head: str, cells: Iterable[str] | Sequence[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def _number(x: float | None) -> str:
    """Three digits, or what is in front of the point."""
    if x is None:
        return "-"
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{_number(ratio)}x"


def _times_of(row: dict[str, Any] | None) -> str:
    """Seconds of a trainer, and how many times ours that is."""
    return f"{_number(row['seconds'])} ({_times(row[f'/ {learning.API}'])})" if row else ""
