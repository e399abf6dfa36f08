"""A tiny saved model, and the command line as a person starts it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import HANGS

from autograd import use_backend
from minillm import GPT, GPTConfig
from minillm.generate.warm_up import warm_up
from minillm.tokenizer import CharTokenizer
from minillm.weights import save_model

CHARACTERS = "\n abcdefghij"

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained model of the characters above; kernels that it needs are compiled."""
    folder = tmp_path_factory.mktemp("run")
    config = GPTConfig(vocab_size=len(CHARACTERS), context_length=8, n_layer=1, n_head=2, d_model=8)
    save_model(folder / "model.safetensors", GPT(config), CharTokenizer(CHARACTERS))
    if importlib.util.find_spec("numba"):
        with use_backend("numba"):
            warm_up(config)  # a first run would say so on stderr
    return folder


@pytest.fixture
def cli() -> Cli:
    """Run `python -m minillm` with these arguments in a process of its own."""

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "minillm", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=HANGS,
            env={**os.environ, **env},
            check=False,
        )

    return run
