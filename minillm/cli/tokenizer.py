"""`minillm tokenizer`: learn a tokenizer from text, see what it does, and turn files into tokens and back."""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from pathlib import Path

from minillm import UserError
from minillm.cli.tokenizer_file import BPE_VOCAB_SIZE, compile_training, open_tokenizer
from minillm.data import STDLIB
from minillm.tokenizer import BPETokenizer, Tokenizer
from minillm.tokenizer.base import whole_characters
from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.split import PATTERNS

Parsers = argparse._SubParsersAction  # what add_subparsers gives

TOKENS_AT_ONCE = 1 << 16  # that are decoded


def add_parser(subparsers: Parsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "tokenizer",
        help="learn, show and use tokenizers",
        description="Learn a byte-level BPE from text, see how it cuts a text, and turn files into tokens and back.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    _add_encode(commands)
    _add_decode(commands)
    _add_show(commands)


def _add_train(commands: Parsers[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="learn a BPE from text",
        description="Learn the merges of a byte-level BPE. Memory grows with the distinct words, not with the text.",
    )
    _add_paths(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="what to write; replaced if it is there"
    )
    parser.add_argument(
        "--vocab-size", type=int, default=BPE_VOCAB_SIZE, metavar="N", help=f"tokens in all ({BPE_VOCAB_SIZE})"
    )
    parser.add_argument(
        "--min-frequency", type=int, default=2, metavar="N", help="how often a pair must occur to be merged (2)"
    )
    parser.add_argument(
        "--special", nargs="*", default=[END_OF_TEXT], metavar="NAME", help=f"special tokens ({END_OF_TEXT})"
    )
    parser.add_argument(
        "--pattern", default="gpt2", help=f"what cuts text into words: {', '.join(PATTERNS)}, or an expression (gpt2)"
    )
    parser.add_argument(
        "--tie", default="id", metavar="RULE", help="of pairs that occur equally often: id (smallest) or first (id)"
    )
    parser.add_argument(
        "--format",
        choices=("minillm", "huggingface", "gpt2", "tiktoken"),
        default="minillm",
        help="of --out, which for gpt2 is a folder (minillm)",
    )
    parser.set_defaults(run=train)


def _add_encode(commands: Parsers[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "encode",
        help="turn files into tokens to train on",
        description="Write the tokens of files into a folder that `minillm train --data` takes, with the end-of-text "
        "token behind each file. Run again, it encodes only what is new or has changed.",
    )
    _add_paths(parser)
    _add_tokenizer(parser, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="token folder, new or gone on with")
    parser.add_argument("--workers", type=int, metavar="N", help="files that are encoded at a time (the cores)")
    parser.add_argument(
        "--end-of-text", default=END_OF_TEXT, metavar="NAME", help=f"special token behind each file ({END_OF_TEXT})"
    )
    parser.add_argument(
        "--special",
        choices=("refuse", "token", "text"),
        default="refuse",
        help="what the names of special tokens in the files are: an error, their tokens, or text (refuse)",
    )
    parser.set_defaults(run=encode)


def _add_decode(commands: Parsers[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "decode", help="print tokens as text", description="Print the text of a token folder or file, and nothing else."
    )
    parser.add_argument("tokens", type=Path, metavar="TOKENS", help="a token folder, or a token file (.npy)")
    _add_tokenizer(parser, required=False)
    parser.add_argument("--start", type=int, default=0, metavar="N", help="first token (0)")
    parser.add_argument("--count", type=int, metavar="N", help="how many tokens (all)")
    parser.set_defaults(run=decode)


def _add_show(commands: Parsers[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "show",
        help="show how a text is cut",
        description="Show a text cut into tokens, in colours on a terminal, with their ids and bytes.",
    )
    parser.add_argument("text", metavar="TEXT")
    _add_tokenizer(parser, required=False)
    parser.add_argument("--merges", action="store_true", help="show the merges of each word, one by one")
    parser.set_defaults(run=show)


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help=f"files, folders, globs, or {STDLIB}")


def _add_tokenizer(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--tokenizer", required=required, metavar="FILE", help="a tokenizer's file, or a run or folder that has one"
    )


def train(args: argparse.Namespace) -> int:
    from minillm.data import iter_texts
    from minillm.tokenizer.files import save_tokenizer

    if args.min_frequency < 1:
        raise UserError(f"min-frequency is {args.min_frequency}: give a whole number of at least 1")
    _check_out(args.out, args.format)
    compile_training()
    options = {"special_tokens": args.special, "pattern": args.pattern, "tie": args.tie}
    with tempfile.TemporaryDirectory() as folder:  # whether the format can hold it is better known now than later
        untrained = BPETokenizer.train("", vocab_size=256 + len(args.special), **options)
        save_tokenizer(untrained, Path(folder) / "" if args.format == "gpt2" else Path(folder) / "file", args.format)
    start = time.perf_counter()
    tokenizer = BPETokenizer.train(
        iter_texts(args.paths),
        vocab_size=args.vocab_size,
        min_frequency=args.min_frequency,
        progress=True,
        **options,
    )
    seconds = time.perf_counter() - start
    if args.format == "gpt2":
        args.out.mkdir(exist_ok=True)
    save_tokenizer(tokenizer, args.out, args.format)
    print(f"{tokenizer.vocab_size:,} tokens learned in {seconds:.1f} s, in {str(args.out)!r}")
    return 0


def _check_out(out: Path, file_format: str) -> None:
    """Raise UserError where nothing can be written to `out`, before any work is done."""
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {str(out.parent)!r} to write to: make it, or give another --out")
    if not os.access(out if out.is_dir() else out.parent, os.W_OK):
        raise UserError(f"{str(out)!r} may not be written: give another --out")
    if file_format == "gpt2" and out.exists() and not out.is_dir():
        raise UserError(f"{str(out)!r} is a file, and gpt2 is two: give --out a folder")
    if file_format != "gpt2" and out.is_dir():
        raise UserError(f"{str(out)!r} is a folder: give --out a file in it, such as {str(out / 'tokenizer.json')!r}")


def encode(args: argparse.Namespace) -> int:
    from minillm.data import list_files
    from minillm.data.encode import encode_files
    from minillm.threads import available_cores

    workers = available_cores() if args.workers is None else args.workers
    if workers < 1:
        raise UserError(f"workers is {workers}: give a whole number of at least 1")
    files, tokenizer = list_files(args.paths), open_tokenizer(args.tokenizer)
    try:
        done = encode_files(
            files, tokenizer, args.out, end_of_text=args.end_of_text, special=args.special, workers=workers
        )
    except KeyboardInterrupt:
        print("\nminillm: stopped; files that are done are kept: the same command goes on", file=sys.stderr)
        raise
    print(f"{done.n_documents:,} documents, {done.n_tokens:,} tokens, in {str(args.out)!r}")
    if done.n_kept:
        print(f"{done.n_kept:,} of them were there before")
    if done.n_binary:
        print(f"{done.n_binary:,} files that are no UTF-8 text were left out")
    return 0


def decode(args: argparse.Namespace) -> int:
    from minillm.data import open_tokens
    from minillm.data.token_folder import fingerprint, is_token_folder, open_token_folder

    for option in ("start", "count"):
        if (getattr(args, option) or 0) < 0:
            raise UserError(f"{option} is {getattr(args, option)}: give a whole number of at least 0")
    given = None if args.tokenizer is None else open_tokenizer(args.tokenizer)
    if is_token_folder(args.tokens):
        folder = open_token_folder(args.tokens)
        tokens, tokenizer = folder.tokens, folder.tokenizer
        if given and fingerprint(given) != fingerprint(tokenizer):
            raise UserError(
                f"{args.tokenizer!r} did not make the tokens in {str(args.tokens)!r}: leave --tokenizer out"
            )
    elif not args.tokens.is_file():
        raise UserError(f"there is no token folder or file {str(args.tokens)!r}: give what `encode` wrote")
    elif given is None:
        raise UserError(f"{str(args.tokens)!r} does not say what made it: give --tokenizer, or a token folder")
    else:
        tokens, tokenizer = open_tokens(args.tokens, given.vocab_size), given
    if args.start > len(tokens):
        raise UserError(f"start is {args.start} and there are {len(tokens):,} tokens: give a smaller one")
    end = len(tokens) if args.count is None else min(args.start + args.count, len(tokens))
    _write_text_to_stdout()
    blocks = range(args.start, end, TOKENS_AT_ONCE)
    parts = (tokenizer.decode_bytes(tokens[first : min(first + TOKENS_AT_ONCE, end)]) for first in blocks)
    for text in whole_characters(parts):
        print(text, end="")
    return 0


def show(args: argparse.Namespace) -> int:
    from minillm.tokenizer.view import cut_text, merge_lines, table

    tokenizer = _default() if args.tokenizer is None else open_tokenizer(args.tokenizer)
    ids = tokenizer.encode(args.text, allowed_special="all").tolist()
    merges = list(merge_lines(tokenizer, args.text)) if args.merges else []
    _write_text_to_stdout()
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(cut_text(tokenizer, ids, colours), end="\n\n")
    for line in table(tokenizer, ids):
        print(line)
    for line in ["", *merges] if merges else []:
        print(line)
    n_bytes = len(tokenizer.decode_bytes(ids))
    print(f"\n{len(ids)} tokens, {n_bytes} bytes")
    return 0


def _default() -> Tokenizer:
    """What needs no file: a BPE learned from the sources that every Python has, in well under a second."""
    from minillm.data import iter_texts

    print(
        f"minillm: without --tokenizer: {BPE_VOCAB_SIZE:,} tokens learned from Python's standard library",
        file=sys.stderr,
    )
    compile_training()
    return BPETokenizer.train(
        iter_texts([STDLIB]), vocab_size=BPE_VOCAB_SIZE, special_tokens=[END_OF_TEXT], progress=True
    )


def _write_text_to_stdout() -> None:
    """A terminal without UTF-8 shows ? for what it cannot."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
