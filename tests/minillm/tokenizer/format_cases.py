"""What the tests of file formats share."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minillm.errors import UserError
from minillm.tokenizer import BPETokenizer

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
GPT2 = SHARED / "gpt2"
END = "<|endoftext|>"

needs_gpt2 = pytest.mark.skipif(not GPT2.exists(), reason="needs ../shared/data/gpt2 beside the repository")

TEXTS = [
    "",
    "I'll pay 100 $ now, won't you?\n",
    "naïve Übung, 你好 🙂 \u0627\u0300\u00a0\u2028x",
    "a" * 50 + " " * 30 + "\t\r\n \n\n" + "aaa" * 7 + "  b \n",
    f"{END}one{END}{END} two <|end {END}",
    "def f(x):\n        return x ** 2  # 12345\n\n\n",
    "34 45 67 78 " * 9 + "1234567890 12345\n",
    Path(sysconfig.get_paths()["stdlib"], "textwrap.py").read_text(encoding="utf-8"),
    "".join(map(chr, range(1, 0x250))),
]


def trained(pattern: str = "gpt2", vocab_size: int = 600) -> BPETokenizer:
    """A small tokenizer with a special token behind its merges."""
    return BPETokenizer.train("\n".join(TEXTS), vocab_size=vocab_size, special_tokens=[END], pattern=pattern)


def ids_of(tokenizer: Any) -> list[list[int]]:
    """The ids of TEXTS, with special tokens, by ours, Hugging Face's or tiktoken's tokenizer."""
    if hasattr(tokenizer, "token_to_id"):
        return [tokenizer.encode(text, add_special_tokens=True).ids for text in TEXTS]
    return [list(map(int, tokenizer.encode(text, allowed_special="all"))) for text in TEXTS]


def changed(source: Path, target: Path, change: Callable[[Any], object]) -> Path:
    """A JSON file with a change."""
    content = json.loads(source.read_text("utf-8"))
    change(content)
    target.write_text(json.dumps(content), "utf-8")
    return target


def refused(load: Callable[[], object], message: str) -> None:
    """`load` raises a UserError of one sentence that has the message."""
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        load()
    if "\n" in str(raised.value):
        pytest.fail(f"more than one line: {raised.value}")
