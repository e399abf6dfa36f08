"""metrics.jsonl: one JSON object a line. A kill can cut the last line short; readers pass over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minillm.errors import UserError
from minillm.files import replacing

METRICS_FILE = "metrics.jsonl"


def append(path: Path, line: dict[str, Any]) -> None:
    """Add one line.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror}: check that the disk has free space") from error


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of later steps than `step`, which a resumed run will write again."""
    kept = [line for line in read(path) if line["step"] <= step]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
