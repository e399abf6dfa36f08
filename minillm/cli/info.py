"""`minillm info`: what a preset or a saved model consists of, and what it costs to train."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minillm import GPTConfig, UserError
from minillm.config import PRESETS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "info",
        help="configuration, parameters, memory and FLOPs of a model",
        description="Show the configuration, the parameters by part, the memory that training takes and the "
        "floating-point operations per token, all by formula: no model is made.",
    )
    parser.add_argument("model", metavar="MODEL", help="a preset, a run folder or a .safetensors file")
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="sequences of a training step (8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.batch_size < 1:
        raise UserError(f"batch-size is {args.batch_size}: give a whole number of at least 1")
    facts = _facts(_config(args.model), args.batch_size)
    if args.json:
        print(json.dumps({"model": args.model, **facts}, indent=2))
    else:
        print(f"{args.model}\n")
        for title, table in facts.items():
            print(_section(title, table))
    return 0


def _config(name: str) -> GPTConfig:
    """The configuration of a preset, or of the saved model at a path."""
    from minillm.weights import load_model

    if name in PRESETS:
        return GPTConfig.preset(name)
    if not Path(name).exists():
        raise UserError(
            f"{name!r} is neither a preset nor a file or folder: choose one of {', '.join(PRESETS)}, "
            "or give a run folder or a .safetensors file"
        )
    return load_model(name)[0].config


def _facts(config: GPTConfig, batch_size: int) -> dict[str, dict[str, Any]]:
    """Sections of facts, by title; the titles carry the units."""
    from minillm.memory import training_bytes

    training_flops = config.flops_per_token()
    return {
        "configuration": asdict(config),
        "parameters": _with_total(config.params_by_part()),
        "training_bytes": {"batch_size": batch_size, **_with_total(training_bytes(config, batch_size))},
        "flops_per_token": {"training": training_flops, "forward": training_flops // 3},  # backward is two forwards
    }


def _with_total(parts: dict[str, int]) -> dict[str, int]:
    return {**parts, "total": sum(parts.values())}


def _section(title: str, table: dict[str, Any]) -> str:
    """The lines for people: numbers in threes, bytes also in GiB."""
    lines = [title.replace("_", " ")]
    for name, value in table.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        line = f"  {name:20} {f'{value:,}' if whole else str(value):>22}"
        lines.append(line + (f"  {value / 2**30:9.3f} GiB" if title.endswith("bytes") and name != "batch_size" else ""))
    return "\n".join(lines) + "\n"
