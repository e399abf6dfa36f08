"""Merges learned from texts, as fast as this machine can: by kernels, or without numba by the reference."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from tqdm import tqdm

from autograd import BackendError, backends, jit
from minillm.errors import UserError
from minillm.tokenizer import training
from minillm.tokenizer.compiled import counter, trainer
from minillm.tokenizer.pieces import in_pieces, parts_of
from minillm.tokenizer.split import is_known, splitter
from minillm.tokenizer.training import Pair, Tie


def learn_merges(
    texts: Iterable[str], pattern: str, n_merges: int | None, *, min_frequency: int, tie: Tie, progress: bool
) -> list[Pair]:
    """At most `n_merges` merges, or all, of the words that `pattern` cuts texts into; bytes have GPT-2's ids.

    Raises:
        UserError: the pattern or the tie rule is none.
    """
    if tie not in get_args(Tie):
        raise UserError(f"unknown tie rule {tie!r}: choose one of {', '.join(get_args(Tie))}")
    split = splitter(pattern)
    if is_known(pattern):
        texts = (piece for text in texts for piece in in_pieces(parts_of(text)))
    with _bar(progress, desc="reading", unit="char", unit_scale=True) as bar:
        counts: Any
        if can_compile():
            counts = counter.count_words(_watched(texts, bar), split)
            train_merges: Any = trainer.train_merges
        else:
            counts = training.count_words(_watched(texts, bar), split)
            train_merges = training.train_merges
    with _bar(progress, desc="merging", unit="merge", total=n_merges) as bar:
        merges: list[Pair] = train_merges(
            counts,
            sys.maxsize if n_merges is None else n_merges,
            min_frequency=min_frequency,
            tie=tie,
            progress=lambda n_made: bar.update(n_made - bar.n),
        )
    return merges


def can_compile() -> bool:
    """Whether kernels are machine code here. If not, with AUTOGRAD_JIT=0 too, the reference is faster than they are."""
    try:
        backends.load("numba")
    except BackendError:
        return False
    return jit.ENABLED


def _bar(shown: bool, **arguments: Any) -> tqdm[Any]:
    """A progress bar, if it is to be shown and there is a terminal."""
    return tqdm(dynamic_ncols=True, disable=None if shown else True, **arguments)


def _watched(texts: Iterable[str], bar: tqdm[Any]) -> Iterator[str]:
    for text in texts:
        yield text
        bar.update(len(text))
