"""Tokens and merges written in GPT-2's characters for bytes, as its own files and Hugging Face's have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from minillm.errors import UserError
from minillm.tokenizer.byte_characters import from_characters, to_characters
from minillm.tokenizer.formats.reading import in_order
from minillm.tokenizer.vocabulary import Vocabulary


def tokens_of(ids: Mapping[str, int], special_tokens: Mapping[str, int]) -> list[bytes | None]:
    """Tokens by id, None for the special ones'.

    Raises UserError if a character stands for no byte, or an id is no number, there twice or missing.
    """
    ordinary = {_bytes(name, id): id for name, id in ids.items() if name not in special_tokens}
    return in_order(ordinary, special_tokens.values())


def pairs_of(
    merges: Iterable[tuple[str, str, str]], ids: Mapping[str, int], special_tokens: Collection[str]
) -> list[tuple[int, int]]:
    """The ids of the two halves of each merge.

    Args:
        merges: where it stands in the file, and its two halves.
        ids: of each token; a special one is no half.

    Raises UserError if a half is no token.
    """
    pairs = []
    for place, left, right in merges:
        for half in (left, right):
            if half not in ids or half in special_tokens:
                raise UserError(
                    f"{place} merges {left!r} and {right!r}, and {half!r} is no token of the vocabulary: "
                    "give the merges that belong to it"
                )
        pairs.append((ids[left], ids[right]))
    return pairs


def ids_of(vocabulary: Vocabulary, special_tokens: Mapping[str, int]) -> dict[str, int]:
    """The id of each token, in characters, in order.

    Raises UserError if a special token's name is how another token is written.
    """
    ids = {to_characters(token): id for token, id in vocabulary.ids.items()}
    for name in special_tokens:
        if name in ids:
            raise UserError(
                f"the special token {name!r} and token {ids[name]} are written alike in this format: "
                "give the special token another name, or save the tokenizer in minillm's own"
            )
    return dict(sorted({**ids, **special_tokens}.items(), key=lambda entry: entry[1]))


def merges_of(vocabulary: Vocabulary) -> list[str]:
    """Each merge as its two halves in characters with a space between, in order of rank."""
    ordered = sorted(vocabulary.merges, key=vocabulary.ranks.__getitem__)  # stable: those of one token stay in order
    return [" ".join(to_characters(vocabulary.tokens[id] or b"") for id in pair) for pair in ordered]


def _bytes(name: str, id: int) -> bytes:
    try:
        return from_characters(name)
    except KeyError as error:
        raise UserError(
            f"token {id!r} is {name!r}, in which {error.args[0]!r} stands for no byte in GPT-2's way of writing them: "
            "name it as a special token if it is one, and otherwise this is no byte-level vocabulary"
        ) from error
