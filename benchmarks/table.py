"""Medians and ratios of what was measured, as lines of at most 100 columns and as JSON."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.gemms import floor_seconds, step_gemms
from benchmarks.rounds import Measured
from benchmarks.tasks import Task

REFERENCES = {"torch": "/eager", "torch.compile": "/compile", "transformers": "/HF"}  # and the columns' heads
FLOOR = "GEMMs of "  # how the names of the floor's contestants begin


def summary(task: Task, measured: dict[str, Measured]) -> dict[str, Any]:
    """For each contestant that has a round: medians, extremes and ratios; and the floor, if it was measured.

    A ratio of speed above 1 means faster than the reference; of memory below 1, less.
    """
    done = {name: m for name, m in measured.items() if m.seconds and not name.startswith(FLOOR)}
    floors = [m for name, m in measured.items() if m.seconds and name.startswith(FLOOR)]
    floor = floor_seconds(step_gemms(task), [m.result for m in floors]) if floors else None
    rows = {name: _row(task, m) for name, m in done.items()}
    for row in rows.values():
        for reference in REFERENCES:
            if reference in rows:
                row[f"speed / {reference}"] = rows[reference]["median_ms"] / row["median_ms"]
                row[f"memory / {reference}"] = row["peak_mb"] / rows[reference]["peak_mb"]
        if floor:
            row["time / GEMM floor"] = row["median_ms"] / (1e3 * floor)
    versions = [m.version for m in floors]
    return {"floor_ms": None if floor is None else 1e3 * floor, "floor_versions": versions, "rows": rows}


def _row(task: Task, m: Measured) -> dict[str, Any]:
    ms = [1e3 * s for s in m.seconds]
    row: dict[str, Any] = {
        "version": m.version,
        "median_ms": statistics.median(ms),
        "min_ms": min(ms),
        "max_ms": max(ms),
        "rounds_ms": ms,
        "peak_mb": m.peak_mb,
        "peak_less_imports_mb": m.peak_mb - m.rss_before,
        "cold_start_s": m.cold,
        "warm_start_s": m.warm,
    }
    if task.kind == "decode":
        return {**row, "tokens_per_s": 1e3 * task.size / row["median_ms"]}
    return {**row, "loss_after_warm_up": m.warm_result}


def lines(task: Task, measured: dict[str, Measured]) -> list[str]:
    """The table for people."""
    result = summary(task, measured)
    rows = result["rows"]
    references = [name for name in REFERENCES if name in rows]
    memory = references[0] if references else ""
    unit = "tokens/s" if task.kind == "decode" else "ms/step"
    head = [f"{'':14}{unit:>8}{'min':>7}{'max':>7}"]
    head += [f"{REFERENCES[name]:>9}" for name in references]
    head += [f"{'/GEMMs':>8}" if result["floor_ms"] else ""]
    head += [f"{'peak MB':>8}{REFERENCES.get(memory, ''):>9}{'own MB':>7}{'cold s':>7}{'warm s':>7}"]
    table = ["".join(head)]
    for name, row in rows.items():
        low, middle, high = (_in_unit(task, row[key]) for key in ("min_ms", "median_ms", "max_ms"))
        cells = [f"{name:14}{_number(middle):>8}{_number(min(low, high)):>7}{_number(max(low, high)):>7}"]
        cells += [f"{row[f'speed / {reference}']:9.2f}" for reference in references]
        cells += [f"{row['time / GEMM floor']:8.2f}" if result["floor_ms"] else ""]
        cells += [f"{row['peak_mb']:8.0f}", f"{row[f'memory / {memory}']:9.2f}" if memory else " " * 9]
        cells += [f"{row['peak_less_imports_mb']:7.0f}{_seconds(row['cold_start_s'])}{_seconds(row['warm_start_s'])}"]
        table.append("".join(cells))
    if result["floor_ms"]:
        table.append(f"{'GEMMs alone':14}{_number(result['floor_ms']):>8}")
    return table


def _in_unit(task: Task, ms: float) -> float:
    return 1e3 * task.size / ms if task.kind == "decode" else ms


def _number(x: float) -> str:
    return f"{x:.1f}" if x < 1000 else f"{x:.0f}"


def _seconds(seconds: float | None) -> str:
    return f"{'-':>7}" if seconds is None else f"{seconds:7.2f}"
