"""The figures as Markdown: all of them, and the short table of the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.tokenizer import learning
from benchmarks.tokenizer.encoding import DOCUMENTS, HUGGING_FACE, NEW, NUMPY, ONE_TEXT, ORDINARY, WARM

Report = dict[str, Any]


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
    """The short table: encode and train beside the best of each peer."""
    encode = report["encode"]
    rows = [
        _row("encode, MB/s, one thread", encode),
        "|" + "---|" * (len(encode) + 1),
        *(
            _row(who, [_number(row[who]["MB/s"]) for row in encode.values()])
            for who in (WARM, NEW, NUMPY, ORDINARY, HUGGING_FACE)
            if all(who in row for row in encode.values())
        ),
    ]
    for who in (WARM, NEW):
        rows.append(_row(f"{who} / {NUMPY}", [_times(row[who].get(f"/ {NUMPY}")) for row in encode.values()]))
    rows += ["", _row("", ["minillm", "tiktoken", "HF tokenizers", "rustbpe"]), "|---|---|---|---|---|"]
    for text, sizes in report["train"].items():
        for vocab_size, row in sizes.items():
            figures = [_seconds(row.get(who)) for who in (learning.API, "", learning.HUGGING_FACE, learning.RUSTBPE)]
            rows.append(_row(f"{int(vocab_size):,} tokens learned from {text}, seconds", figures))
    for text, row in report["encode_two_threads"].items():
        best = max((row[who]["MB/s"] for who in (ORDINARY, NUMPY) if who in row), default=None)
        ours = f"{_number(row[DOCUMENTS]['MB/s'])}; as one text {_number(row[ONE_TEXT]['MB/s'])}"
        rows.append(_row(f"encode {text} in documents, two threads, MB/s", [ours, _number(best), "", ""]))
    for length, row in report["short"].items():
        theirs = _number(row[ORDINARY]["us"] if ORDINARY in row else None)
        rows.append(_row(f"encode {length} characters, microseconds", [_number(row[WARM]["us"]), theirs, "", ""]))
    for what, row in report["without_cuts"].items():
        theirs = "fails" if "fails" in row.get(ORDINARY, {}) else _seconds(row.get(ORDINARY))
        rows.append(_row(f"1,000,000 x {what}, seconds", [_seconds(row[WARM]), theirs, "", ""]))
    if "starts" in report:
        for job, peer in (("encode", report["starts"].get("tiktoken", {}).get("cached_s")), ("train", None)):
            ours = f"{report['starts'][job]['cached_s']:.1f}; compiling {report['starts'][job]['cold_s']:.1f}"
            rows.append(_row(f"start of a process that can {job}, seconds", [ours, _number(peer), "", ""]))
    if "memory" in report:
        rows.append(
            _row("32,000 tokens learned from files, peak MB", [f"{report['memory']['peak_MB']:.0f}", *[""] * 3])
        )
    return rows


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


def _seconds(row: dict[str, Any] | None) -> str:
    return _number(row["seconds"]) if row else ""
