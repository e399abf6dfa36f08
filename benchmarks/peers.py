"""The contestants: how each library prepares a training step, or the decoding of one stream.

Each runs in a process of its own and imports its library there. All start from the weights that `save_weights` put
into a folder, so that PyTorch's process neither imports minillm nor holds a model of it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.tasks import PROMPT_TOKENS, Task
from benchmarks.worker import Prepare, Work, resident_mb

if TYPE_CHECKING:
    from minillm import GPT

LR, BETAS, WEIGHT_DECAY, MAX_NORM = 1e-3, (0.9, 0.99), 0.1, 1.0
DECODE_SCALE = (
    4  # of the initial matrices: with less, blocks add so little that a tied model repeats one token for ever
)


def available(kind: str) -> tuple[dict[str, Prepare], list[str]]:
    """The contestants for tasks of that kind that can run here, ours first, and a line about each that cannot."""
    from autograd.backends import BACKENDS, BackendError, load

    ours = our_step if kind == "train" else our_stream
    found: dict[str, Prepare] = {}
    missing = []
    for backend in BACKENDS:
        if backend == "cupy":
            continue
        try:
            load(backend)
            found[backend] = functools.partial(ours, backend)
        except BackendError as error:
            missing.append(f"{backend} is left out: {error}")
    for name, (its_kind, packages, prepare) in OPTIONAL.items():
        if its_kind == kind and all(map(importlib.util.find_spec, packages)):
            found[name] = prepare
        elif its_kind == kind:
            missing.append(f"{name} is left out: it is not installed (pip install {' '.join(packages)})")
    return found, missing


def save_weights(task: Task, folder: Path) -> None:
    """Write the weights that all start from, an array a file, and the configuration."""
    from minillm import GPT, GPTConfig

    config = GPTConfig(**task.shape)
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    for name, p in GPT(config).named_parameters():
        scale = DECODE_SCALE if task.kind == "decode" and p.role == "weight" else 1
        np.save(folder / f"{name}.npy", p.data * np.float32(scale))


def our_model(task: Task, weights: Path) -> GPT:
    from minillm import GPT, GPTConfig

    model = GPT(GPTConfig(**task.shape))
    for name, p in model.named_parameters():
        p.data = np.load(weights / f"{name}.npy")
    return model


def _our_start(backend: str, threads: int) -> tuple[str, float]:
    """Imports what is needed, switches to the backend and sets its threads: gives its version and resident MB."""
    import minillm.generate
    import minillm.optim  # noqa: F401  # counted as libraries, not as the model
    from autograd import backends
    from minillm.threads import limit_threads

    backends.use_backend(backend)
    limit_threads(threads)
    if backend == "numba":  # its kernels have threads of their own, and BLAS one inside each
        from autograd.backends import numba

        numba.set_threads(threads)
    return backends.active().describe(), resident_mb()


def our_step(backend: str, task: Task, threads: int, weights: Path) -> Work:
    """A training step of minillm on one of its backends."""
    version, before = _our_start(backend, threads)
    from minillm.optim import AdamW, clip_scale, global_norm

    model = our_model(task, weights)
    optimizer = AdamW(model, LR, BETAS, weight_decay=WEIGHT_DECAY)
    ids, targets = random_batch(task)

    def step() -> float:
        model.zero_grad()
        loss = model.loss(ids, targets)
        assert loss is not None
        loss.backward()
        optimizer.step(clip_scale(float(global_norm([model.flat.grad])), MAX_NORM))
        return float(loss)

    return Work(step, version, before)


def torch_step(compiled: bool, task: Task, threads: int, weights: Path) -> Work:
    """The same in PyTorch, eager or compiled, with its fused AdamW."""
    import torch

    from tests.parity.torch_gpt import TorchGPT

    torch.set_num_threads(threads)
    before = resident_mb()
    config: Any = SimpleNamespace(**json.loads((weights / "config.json").read_text()))
    model = TorchGPT(config)
    _load(model.named_parameters(), weights)
    decayed = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    others = [p for p in model.parameters() if all(p is not d for d in decayed)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=LR,
        betas=BETAS,
        fused=True,
    )
    ids, targets = map(torch.from_numpy, random_batch(task))

    def loss_of(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return model(ids, targets)[1]

    run = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        optimizer.zero_grad()
        loss = run(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        return float(loss.item())

    return Work(step, f"torch {torch.__version__}", before)


def our_stream(backend: str, task: Task, threads: int, weights: Path) -> Work:
    """Greedy decoding by `minillm.generate`."""
    version, before = _our_start(backend, threads)
    from minillm.generate import generate

    model = our_model(task, weights)
    return Work(lambda: list(generate(model, prompt(task), task.size, temperature=0)), version, before)


def transformers_stream(task: Task, threads: int, weights: Path) -> Work:
    """The same by Hugging Face transformers' GPT-2, with its cache of keys and values."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    before = resident_mb()
    shape = task.shape
    config = transformers.GPT2Config(
        vocab_size=shape["vocab_size"],
        n_positions=shape["context_length"],
        n_embd=shape["d_model"],
        n_layer=shape["n_layer"],
        n_head=shape["n_head"],
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    theirs = dict(model.named_parameters())
    _load(((our_name(name), p.T if name.endswith(_CONV1D) else p) for name, p in theirs.items()), weights)
    ids = torch.from_numpy(prompt(task))[None]  # (1, PROMPT_TOKENS)

    def stream() -> list[int]:
        with torch.no_grad():
            whole = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=task.size,
                min_new_tokens=task.size,
                do_sample=False,
                use_cache=True,
            )
        tokens: list[int] = whole[0, PROMPT_TOKENS:].tolist()
        return tokens

    return Work(stream, f"transformers {transformers.__version__}, torch {torch.__version__}", before)


_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # OpenAI's layout: (in, out), ours transposed
_RENAMED = {
    "transformer.": "",
    "wte.": "token_embedding.",
    "wpe.": "position_embedding.",
    "h.": "blocks.",
    "ln_1.": "ln1.",
    "ln_2.": "ln2.",
    "c_attn.": "qkv.",
    "c_fc.": "fc.",
    "c_proj.": "proj.",
}


def our_name(name: str) -> str:
    """The path in our model of a parameter of transformers' GPT-2."""
    for theirs, ours in _RENAMED.items():
        name = name.replace(theirs, ours)
    return name


def _load(named: Any, weights: Path) -> None:
    """Copy the arrays of the folder into PyTorch's parameters, (our name, parameter) each."""
    import torch

    with torch.no_grad():
        for name, p in named:
            p.copy_(torch.from_numpy(np.load(weights / f"{name}.npy")))


def random_batch(task: Task) -> tuple[np.ndarray, np.ndarray]:
    size = (2, task.size, task.shape["context_length"])
    ids, targets = np.random.default_rng(0).integers(0, task.shape["vocab_size"], size)  # each (B, T)
    return ids, targets


def prompt(task: Task) -> np.ndarray:
    return np.random.default_rng(0).integers(0, task.shape["vocab_size"], PROMPT_TOKENS)  # (PROMPT_TOKENS,)


# the kind of task, what each needs, and how it prepares
OPTIONAL: dict[str, tuple[str, tuple[str, ...], Prepare]] = {
    "torch": ("train", ("torch",), functools.partial(torch_step, False)),
    "torch.compile": ("train", ("torch",), functools.partial(torch_step, True)),
    "transformers": ("decode", ("torch", "transformers"), transformers_stream),
}
