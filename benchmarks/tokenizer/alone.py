"""One job in a process of its own, to see what its start takes and how much memory: `python -m ...alone JOB`.

Writes one line of JSON. The seconds from the start of the process are taken by who started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXT = "The first text that is encoded, and it's no long one.\n"
STREAMED_VOCABULARY = 32_000


def encode(folder: Path) -> None:
    from minillm.tokenizer import BPETokenizer

    BPETokenizer.from_gpt2_files(folder / "encoder.json", folder / "vocab.bpe").encode_ordinary(TEXT)


def encode_tiktoken(ranks: Path) -> None:
    """With the ranks in tiktoken's own file, as it keeps them."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tiktoken_ext.openai_public import r50k_pat_str

    loaded = load_tiktoken_bpe(str(ranks))
    tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=loaded, special_tokens={}).encode_ordinary(TEXT)


def train(_: Path) -> None:
    from minillm.tokenizer import BPETokenizer

    BPETokenizer.train(TEXT * 2, vocab_size=260)


def train_streamed(files: Path) -> None:
    """From the files that a file names, one a line."""
    from minillm.data.corpus import iter_texts
    from minillm.tokenizer import BPETokenizer

    names = files.read_text("utf-8").splitlines()
    BPETokenizer.train(iter_texts(names), vocab_size=STREAMED_VOCABULARY)


JOBS = {job.__name__: job for job in (encode, encode_tiktoken, train, train_streamed)}


def run(job: str, argument: Path, **environment: str) -> dict[str, float]:
    """Seconds of a process that does the job, and its peak of resident memory in MB."""
    command = [sys.executable, "-m", "benchmarks.tokenizer.alone", job, str(argument)]
    start = time.perf_counter()
    output = subprocess.run(
        command, env={**os.environ, **environment}, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.PIPE
    ).stdout
    seconds = time.perf_counter() - start
    return {"seconds": seconds, **json.loads(output)}


def starts(folder: Path, *, with_tiktoken: bool) -> dict[str, Any]:
    """Seconds from the start of a process to its first ids or merges: with no compiled kernels on disk, and with them.

    Args:
        folder: of GPT-2's files.
    """
    from minillm.tokenizer.files import load_tokenizer, save_tokenizer

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for job in ("encode", "train"):
            cold, cached = (run(job, folder, NUMBA_CACHE_DIR=f"{temporary}/{job}")["seconds"] for _ in range(2))
            found[job] = {"cold_s": cold, "cached_s": cached}
        if with_tiktoken:
            ranks = Path(temporary) / "gpt2.tiktoken"
            save_tokenizer(load_tokenizer(folder), ranks, "tiktoken")
            found["tiktoken"] = {"cached_s": min(run("encode_tiktoken", ranks)["seconds"] for _ in range(2))}
    return found


def memory_streamed(files: Sequence[Path]) -> dict[str, Any]:
    """The peak, in MB, of a process that trains on files, of which it holds a piece at a time."""
    with tempfile.TemporaryDirectory() as temporary:
        names = Path(temporary) / "files.txt"
        names.write_text("\n".join(map(str, files)), "utf-8")
        nothing = run("train", names)  # libraries and kernels
        return {"peak_MB": run("train_streamed", names)["peak_MB"], "peak_MB_of_a_tiny_text": nothing["peak_MB"]}


if __name__ == "__main__":
    from benchmarks.worker import resident_mb

    JOBS[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps({"peak_MB": resident_mb("VmHWM")}))
