"""How fast text becomes ids of GPT-2's vocabulary. Every result is compared before it is timed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.tokenizer import peers
from benchmarks.tokenizer.texts import Text
from benchmarks.tokenizer.turns import Contestant, Seconds, take_turns
from minillm.tokenizer import BPETokenizer
from minillm.tokenizer.compiled.encoder import Encoder
from minillm.tokenizer.pieces import in_pieces, parts_of

WARM, NEW, REFERENCE = "minillm, warm", "minillm, new cache", "minillm, plain Python"
ORDINARY, NUMPY = "tiktoken encode_ordinary", "tiktoken encode_to_numpy"
HUGGING_FACE = "HF tokenizers"
ONE_TEXT, DOCUMENTS = "minillm, one text", "minillm, documents"
HF_CHARACTERS = 20_000  # of a piece of text for Hugging Face, which is slower on longer ones
DOCUMENT = 100_000  # characters
LENGTHS = (10, 50, 100, 1000)
SAMPLES = 100  # strings of a length
LONG = 1_000_000  # characters

Figures = dict[str, dict[str, Any]]  # by contestant


class Contest:
    """Ours and the peers that are installed, with GPT-2's vocabulary from the files of a folder.

    Args:
        least_seconds: of the calls in a round.
    """

    def __init__(self, folder: Path, rounds: int, least_seconds: float) -> None:
        self.ours = BPETokenizer.from_gpt2_files(folder / "encoder.json", folder / "vocab.bpe")
        installed = peers.installed()
        self.tiktoken: Any = peers.tiktoken_gpt2(folder) if "tiktoken" in installed else None
        self.huggingface: Any = peers.huggingface_gpt2(folder) if "tokenizers" in installed else None
        self._rounds, self._least_seconds = rounds, least_seconds

    def one_thread(self, name: str, text: Text) -> Figures:
        """MB/s of one text, and ratios of speed to tiktoken's calls: above 1 is faster than that."""
        contestants = {
            WARM: Contestant(lambda _: self.ours.encode_ordinary(text.text)),
            NEW: Contestant(lambda new: new.encode(text.text), prepare=lambda: Encoder(self.ours.vocabulary)),
            REFERENCE: Contestant(lambda _: self.ours.encode_reference(text.text)),
        }
        if self.tiktoken:
            contestants[ORDINARY] = Contestant(lambda _: self.tiktoken.encode_ordinary(text.text))
            contestants[NUMPY] = Contestant(lambda _: self._to_numpy(text.text))
        if self.huggingface:
            pieces = list(in_pieces(parts_of(text.text, HF_CHARACTERS), HF_CHARACTERS))
            contestants[HUGGING_FACE] = Contestant(
                lambda _: [id for part in self.huggingface.encode_batch_fast(pieces) for id in part.ids]
            )
        return self._speeds(contestants, name, text.megabytes)

    def two_threads(self, name: str, text: Text) -> Figures:
        """MB/s with two threads of one text, and of the same text in documents, which no word lies across."""
        documents = list(in_pieces(parts_of(text.text, DOCUMENT), DOCUMENT))

        def with_threads(_: None) -> list[Any]:
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(self._to_numpy, documents))

        def batch(texts: list[str]) -> list[Any]:
            return self.ours.encode_batch(texts, disallowed_special=(), n_threads=2)

        contestants = {
            ONE_TEXT: Contestant(lambda _: batch([text.text])),
            DOCUMENTS: Contestant(lambda _: batch(documents)),
        }
        if self.tiktoken:
            contestants[ORDINARY] = Contestant(lambda _: self.tiktoken.encode_ordinary_batch(documents, num_threads=2))
            contestants[NUMPY] = Contestant(with_threads)
        return self._speeds(contestants, f"{name} with two threads", text.megabytes)

    def short(self, text: Text) -> dict[str, Figures]:
        """Microseconds a call, for strings of each of LENGTHS characters, from places of `text`."""
        found = {}
        for length in LENGTHS:
            rng = random.Random(length)
            starts = [rng.randrange(max(len(text.text) - length, 1)) for _ in range(SAMPLES)]
            samples = [text.text[start : start + length] for start in starts]
            contestants = {WARM: _each(self.ours.encode_ordinary, samples)}
            if self.tiktoken:
                contestants[ORDINARY] = _each(self.tiktoken.encode_ordinary, samples)
                contestants[NUMPY] = _each(self._to_numpy, samples)
            times = self._turns(contestants, f"strings of {length} characters")
            found[str(length)] = {
                name: {"us": 1e6 * t.median / SAMPLES, "rounds_us": [1e6 * s / SAMPLES for s in t.rounds]}
                for name, t in times.items()
            }
        return found

    def without_cuts(self, n: int = LONG) -> dict[str, Figures]:
        """Seconds for n characters that no pattern cuts. A peer that fails has its message."""
        letters = "".join(random.Random(0).choices("aeinorst", k=n))
        runs = {"a": "a" * n, "-": "-" * n, "space": " " * n, "中": "中" * n, "random letters": letters}
        found = {}
        for name, run in runs.items():
            contestants = {WARM: Contestant(lambda _, run=run: self.ours.encode_ordinary(run))}
            failed: Figures = {}
            if self.tiktoken:  # encode_ordinary panics where encode_to_numpy raises
                contestants[NUMPY] = Contestant(lambda _, run=run: self._to_numpy(run))
                try:
                    self._to_numpy(run)
                except ValueError as error:
                    del contestants[NUMPY]
                    failed[NUMPY] = {"fails": str(error)}
            times = self._turns(contestants, f"{n:,} of {name}")
            found[name] = {who: {"seconds": t.median, "rounds_s": t.rounds} for who, t in times.items()} | failed
        return found

    def _to_numpy(self, text: str) -> Any:
        """tiktoken's ids of a text in which names of special tokens are text."""
        return self.tiktoken.encode_to_numpy(text, disallowed_special=())

    def _turns(self, contestants: Mapping[str, Contestant], of: str) -> dict[str, Seconds]:
        return take_turns(contestants, self._rounds, of=of, least_seconds=self._least_seconds)

    def _speeds(self, contestants: Mapping[str, Contestant], of: str, megabytes: float) -> Figures:
        times = self._turns(contestants, of)
        rows: Figures = {
            name: {"MB/s": megabytes / t.median, "rounds_MB/s": [megabytes / s for s in t.rounds]}
            for name, t in times.items()
        }
        for row in rows.values():
            for reference in (NUMPY, ORDINARY):
                if reference in rows:
                    row[f"/ {reference}"] = row["MB/s"] / rows[reference]["MB/s"]
        return rows


def _each(encode: Any, samples: list[str]) -> Contestant:
    def run(_: None) -> list[Any]:
        return [encode(sample) for sample in samples]

    return Contestant(run)
