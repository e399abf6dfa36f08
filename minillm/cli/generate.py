"""`minillm generate`: text from a trained model, as it is made."""

from __future__ import annotations

import argparse
import io
import itertools
import sys

from autograd import use_backend
from minillm.cli.backend import add_backend_flag, add_threads_flag, choose_backend, compile_kernels


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "generate",
        help="write text with a trained model",
        description="Print the prompt, its continuation as the model writes it, and a newline. "
        "Nothing but this text goes to standard output.",
    )
    parser.add_argument("model", metavar="RUN", help="a run folder of `minillm train`, or a .safetensors file")
    parser.add_argument(
        "--prompt",
        default="",
        help="text to continue, which may have special tokens; empty: start from a newline, which is not printed",
    )
    parser.add_argument("--max-new-tokens", type=int, default=200, metavar="N", help="tokens to write (200)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="below 1: more likely tokens; 0: the likeliest (1)"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the fewest tokens whose probabilities reach P"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds write equal texts (0)")
    parser.add_argument("--stop", metavar="TEXT", help="stop before the first TEXT that the model writes")
    add_backend_flag(parser)
    add_threads_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minillm.cli.tokenizer_file import compile_encoding
    from minillm.generate import generate_text
    from minillm.generate.warm_up import warm_up
    from minillm.threads import limit_threads
    from minillm.weights import load_model

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? for what it cannot
    with use_backend(choose_backend(args.backend)), limit_threads(args.threads):
        model, tokenizer = load_model(args.model)
        compile_encoding(tokenizer)
        pieces = generate_text(
            model,
            tokenizer,
            args.prompt,
            args.max_new_tokens,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            seed=args.seed,
            stop=args.stop,
        )
        compile_kernels(lambda: warm_up(model.config))
        for piece in itertools.chain([args.prompt], pieces):
            print(piece, end="", flush=True)
        print()
    return 0
