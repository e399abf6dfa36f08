"""Our BPE tokenizer beside tiktoken, Hugging Face tokenizers and rustbpe: `make bench-tokenizer`.

Ids and merges must be equal before anything is timed. Then all take turns in one process, in rounds.

    python -m benchmarks.tokenizer [--rounds 5] [--gpt2 FOLDER] [--quick]
    python -m benchmarks.tokenizer --fuzz 200000 [--stride 1]
    python -m benchmarks.tokenizer --readme

Prints tables, and writes benchmarks/results/tokenizer.json. --quick takes a small part of each text and one round, and
writes nothing. --fuzz times nothing: it compares ids with tiktoken's on that many random strings, and on every
STRIDE-th code point alone and in context. --readme prints the README's table of what was measured last.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import machine
from benchmarks.tokenizer import alone, fuzz, learning, peers, report
from benchmarks.tokenizer.encoding import Contest
from benchmarks.tokenizer.texts import DATA, LONGEST, SHAKESPEARE, read, stdlib_files, texts
from benchmarks.tokenizer.turns import Disagreement
from minillm.tokenizer import BPETokenizer

RESULT = Path(__file__).parents[1] / "results" / "tokenizer.json"
LEAST_SECONDS = 0.05  # of calls in a round, so that the clock and small interruptions do not matter
LEARNED_FROM = (LONGEST, "tinyshakespeare")


def measure(args: argparse.Namespace) -> report.Report:
    """All figures, as JSON has them.

    Raises:
        Disagreement: a peer does not give what ours does.
    """
    found = texts(quick=args.quick)
    before = machine.load_average()
    contest = Contest(args.gpt2, args.rounds, least_seconds=0 if args.quick else LEAST_SECONDS)
    result: dict[str, Any] = {"rounds": args.rounds, **machine.facts(), "versions": peers.versions()}
    result["texts"] = {name: {"what": text.what, "megabytes": text.megabytes} for name, text in found.items()}
    with tqdm(total=len(found) + 7, disable=None, leave=False) as bar:

        def step(what: str) -> None:
            bar.set_description(what)
            bar.update()

        result["encode"] = {}
        for name, text in found.items():
            step(f"encode {name}")
            result["encode"][name] = contest.one_thread(name, text)
        step("two threads")
        result["encode_two_threads"] = {LONGEST: contest.two_threads(LONGEST, found[LONGEST])}
        step("short strings")
        result["short"] = contest.short(found["pydoc topics"])
        step("characters without a cut")
        result["without_cuts"] = contest.without_cuts(*([10_000] if args.quick else []))
        result["train"] = {}
        for name in LEARNED_FROM:
            if name in found:
                step(f"learn from {name}")
                result["train"][name] = train(name, args)
        if not args.quick:
            step("starts")
            result["starts"] = alone.starts(args.gpt2, with_tiktoken="tiktoken" in peers.installed())
            step("memory")
            result["memory"] = alone.memory_streamed(stdlib_files(quick=False))
    result["load_average"] = {"before": before, "after": machine.load_average()}
    return result


def train(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of each vocabulary size."""
    files = stdlib_files(quick=args.quick) if name == LONGEST else [SHAKESPEARE]
    parts = [read(path) for path in files]
    return {str(size): learning.learn(parts, files, size, args.rounds) for size in args.vocab_sizes}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of all, taking turns, after a call to warm up")
    parser.add_argument("--gpt2", type=Path, default=DATA / "gpt2", metavar="FOLDER", help="encoder.json and vocab.bpe")
    parser.add_argument("--quick", action="store_true", help="small texts, one round, nothing written")
    parser.add_argument("--fuzz", type=int, metavar="N", help="compare ids on N random strings and all code points")
    parser.add_argument("--stride", type=int, default=1, help="of code points for --fuzz (default: 1, every one)")
    parser.add_argument("--readme", action="store_true", help="the README's table, of what was measured last")
    args = parser.parse_args(arguments)
    if min(args.rounds, args.stride) < 1 or (args.fuzz is not None and args.fuzz < 0):
        parser.error("--rounds and --stride are whole numbers of at least 1, and --fuzz of at least 0")
    if args.readme:
        print(*report.readme(json.loads(RESULT.read_text("utf-8"))), sep="\n")
        return 0
    missing = [name for name in ("encoder.json", "vocab.bpe") if not (args.gpt2 / name).is_file()]
    if missing:
        parser.error(f"{args.gpt2} has no {' and no '.join(missing)}: give the folder of GPT-2's two files with --gpt2")
    os.environ.update(peers.ONE_THREAD)
    if args.fuzz is not None:
        return compare(args)
    args.vocab_sizes = [4096, 32_000]
    if args.quick:
        args.rounds, args.vocab_sizes = 1, [512]
    for name in set(peers.PEERS).difference(peers.installed()):
        print(f"{name} is left out: it is not installed (pip install {name})")
    try:
        result = measure(args)
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"{result['cpu']}, {result['cores']} cores, {result['system']}, Python {result['python']}; {versions}")
    load = result["load_average"]
    print(f"medians of {result['rounds']} rounds; load average {load['before']} before, {load['after']} after\n")
    print(*report.lines(result), sep="\n")
    if not args.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def compare(args: argparse.Namespace) -> int:
    """Ids on random strings and code points; 1 if a string has other ids than tiktoken's."""
    if "tiktoken" not in peers.installed():
        print("--fuzz needs tiktoken, which is not installed: pip install tiktoken", file=sys.stderr)
        return 2
    ours = BPETokenizer.from_gpt2_files(args.gpt2 / "encoder.json", args.gpt2 / "vocab.bpe")
    wrong = fuzz.disagreement(ours, peers.tiktoken_gpt2(args.gpt2), args.fuzz, args.stride)
    if wrong:
        print(wrong, file=sys.stderr)
        return 1
    n = fuzz.count(args.fuzz, args.stride)
    print(f"{n:,} strings have tiktoken's ids, from the compiled encoder and from the reference")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
