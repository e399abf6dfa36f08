"""`minillm doctor`: whether this machine and this installation can train a model."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine and installation",
        description="Show the versions, cores, threads and backends found, then train a tiny model: its initial loss, "
        "its gradients and whether it learns one batch by heart. Exit code 1 if a check fails.",
    )
    parser.add_argument("--backend", default="numpy", help="backend to check: numpy or cupy (numpy)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    raise NotImplementedError
