"""`minillm info`: what a preset or a saved model consists of, and what it costs to train."""

from __future__ import annotations

import argparse


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
    raise NotImplementedError
