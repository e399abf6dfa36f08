"""`minillm train`: a run from text to a trained model, in one folder."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import typing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograd import use_backend
from minillm import GPT, GPTConfig, UserError, __version__
from minillm.cli.backend import add_backend_flag, add_threads_flag, choose_backend, compile_kernels
from minillm.cli.tokenizer_file import BPE_VOCAB_SIZE
from minillm.config import PRESETS
from minillm.data import STDLIB
from minillm.data.token_folder import TOKENIZER_FILE, is_token_folder
from minillm.tokenizer import TOKENIZERS
from minillm.train.config import TrainConfig, recipe

if TYPE_CHECKING:
    from minillm.train import Trainer
    from minillm.train.checkpoint import Checkpoint

DEFAULT_PRESET = "python-tiny"
RUN_FILES = ("metrics.jsonl", "model.safetensors", "loss.png", "checkpoints", "tokens", TOKENIZER_FILE)
KEPT_FIELDS = ("preset", "data", "asked", "token_folder", "version")  # of the manifest, by a run that goes on
SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 200, 0.8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a model on text",
        description="Train a model and write it, its metrics, its loss curve and checkpoints into one folder. "
        "Ctrl-C saves a checkpoint; --resume goes on from it.",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="PATH",
        help=f"files, folders, globs, {STDLIB}, or a token folder ({STDLIB})",
    )
    parser.add_argument("--preset", help=f"model and recipe to start from: {', '.join(PRESETS)} ({DEFAULT_PRESET})")
    parser.add_argument(
        "--tokenizer",
        metavar="NAME|FILE",
        help=f"{', '.join(TOKENIZERS)}, or a tokenizer's file (the preset's); bpe has {BPE_VOCAB_SIZE} tokens unless "
        "--vocab-size says otherwise",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/PRESET)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument("--overwrite", action="store_true", help="delete the run that is in --out")
    add_backend_flag(parser)
    add_threads_flag(parser)
    _add_fields(parser.add_argument_group("training (the preset has the defaults)"), TrainConfig)
    _add_fields(parser.add_argument_group("model (the preset has the defaults)"), GPTConfig)
    parser.set_defaults(run=run)


def _add_fields(group: argparse._ArgumentGroup, config: type[GPTConfig] | type[TrainConfig]) -> None:
    """One flag for each field of a configuration; None: not given."""
    types = typing.get_type_hints(config)
    for field in fields(config):
        flag, help_text = f"--{field.name.replace('_', '-')}", field.metadata["help"].replace("%", "%%")
        allowed = (types[field.name], *typing.get_args(types[field.name]))  # `int | None` has the arguments int, None
        kind = next((kind for kind in (bool, int, float) if kind in allowed), str)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=help_text)
        else:
            metavar = {int: "N", float: "X", str: "NAME"}[kind]
            group.add_argument(flag, type=kind, metavar=metavar, help=help_text)


def run(args: argparse.Namespace) -> int:
    from minillm.threads import limit_threads
    from minillm.train.checkpoint import newest_checkpoint
    from minillm.train.warm_up import warm_up

    if args.resume and args.overwrite:
        raise UserError("--resume and --overwrite were both given: give the one that you mean")
    out = args.out or Path("runs") / (args.preset or DEFAULT_PRESET)
    checkpoint = newest_checkpoint(out) if args.resume else None
    # runs that do not say what computed them are older than the other backends' being a default
    backend = args.backend or (checkpoint.manifest.get("backend", "numpy") if checkpoint else choose_backend(None))
    with use_backend(backend), limit_threads(args.threads) as limit:
        print(f"backend {backend}, {limit.n} threads")
        computed_by = {"backend": backend, "threads": limit.n}
        trainer = _resume(args, out, checkpoint, computed_by) if checkpoint else _start(args, out, computed_by)
        compile_kernels(lambda: warm_up(trainer.model.config))
        if not trainer.train():
            again = shlex.join(["minillm", "train", "--out", str(out), "--resume"])
            print(f"\nstopped at step {trainer.step}, which is saved; to go on: {again}", file=sys.stderr)
            return 130
        _finish(trainer)
    return 0


def _given(args: argparse.Namespace, config: type[GPTConfig] | type[TrainConfig]) -> dict[str, Any]:
    """The fields of a configuration that flags set."""
    return {f.name: getattr(args, f.name) for f in fields(config) if getattr(args, f.name) is not None}


def _start(args: argparse.Namespace, out: Path, computed_by: dict[str, Any]) -> Trainer:
    """A new run. Everything that can be wrong with the request is looked at before anything is written."""
    from minillm.cli.train_data import open_data, read_data, write_data
    from minillm.data import Loader, windows
    from minillm.tokenizer.files import save_tokenizer
    from minillm.train import Trainer

    preset = args.preset or DEFAULT_PRESET
    GPTConfig.preset(preset)  # raises for an unknown name
    if is_token_folder(out):
        raise UserError(f"{str(out)!r} is a token folder: give --data that, and another --out")
    existing = [out / file for file in RUN_FILES if (out / file).exists()]
    if existing and not args.overwrite:
        raise UserError(
            f"{str(out)!r} holds another run: give --resume to go on with it, --overwrite, or another --out"
        )
    train_config = TrainConfig(**{**recipe(preset).train, **_given(args, TrainConfig)})

    sources, kind = args.data or [STDLIB], recipe(preset).tokenizer
    data = read_data(sources, args.tokenizer, args.vocab_size, train_config.val_fraction, preset=kind)
    tokenizer = data.tokenizer
    config = GPTConfig.preset(preset, **{**_given(args, GPTConfig), "vocab_size": tokenizer.vocab_size})
    Loader(data.train, train_config.batch_size, config.context_length, train_config.seed)  # raises for a text too short
    windows(data.val, config.context_length, batch_size=1)  # likewise
    model = GPT(config, train_config.seed)

    try:
        (out / "tokens").mkdir(parents=True, exist_ok=True)
        for path in existing:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (out / "tokens").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {str(out)!r}: {error.strerror}: give another --out") from error
    write_data(out, data)
    save_tokenizer(tokenizer, out / TOKENIZER_FILE)
    print(data.description)
    _describe(config, train_config, len(data.train), len(data.val))
    tokens = open_data(out, tokenizer, data.token_folder, train_config.val_fraction)
    asked = {"tokenizer": args.tokenizer or tokenizer.name}
    if args.vocab_size is not None:
        asked["vocab_size"] = args.vocab_size  # a BPE of little text may have less
    extra = {"preset": preset, "data": sources, "asked": asked, "token_folder": data.token_folder}
    extra |= {"version": __version__, **computed_by}
    return Trainer(model, tokenizer, *tokens, train_config, out, extra)


def _resume(args: argparse.Namespace, out: Path, checkpoint: Checkpoint, computed_by: dict[str, Any]) -> Trainer:
    """The run in `out`, at its newest checkpoint, with the configuration that it began with."""
    from minillm.cli.train_data import open_data
    from minillm.tokenizer import from_dict
    from minillm.train import Trainer

    manifest = checkpoint.manifest
    stored = {
        "preset": manifest["preset"],
        "data": manifest["data"],
        **manifest["config"],
        **manifest["train_config"],
        **(manifest.get("asked") or {}),
    }
    differing = [
        f"{name} is {getattr(args, name)} and was {value}"
        for name, value in stored.items()
        if getattr(args, name) not in (None, value)
    ]
    if differing:
        raise UserError(
            f"the run in {str(out)!r} has another configuration ({'; '.join(differing)}): "
            "leave these flags out to resume it, or start another run with another --out"
        )
    config, train_config = GPTConfig.from_dict(manifest["config"]), TrainConfig(**manifest["train_config"])
    tokenizer = from_dict(manifest["tokenizer"])
    tokens = open_data(out, tokenizer, manifest.get("token_folder"), train_config.val_fraction)
    before = {**computed_by, "backend": "numpy", **manifest}
    changed = [f"{key} was {before[key]} and is {now}" for key, now in computed_by.items() if before[key] != now]
    if changed:
        print(f"minillm: the last bits may differ from a run without a stop: {'; '.join(changed)}", file=sys.stderr)
    extra = {**{name: manifest.get(name) for name in KEPT_FIELDS}, **computed_by}
    trainer = Trainer(GPT(config), tokenizer, *tokens, train_config, out, extra)
    trainer.resume(checkpoint)
    print(f"resuming {str(out)!r} at step {trainer.step}")
    _describe(config, train_config, *map(len, tokens))
    return trainer


def _describe(config: GPTConfig, train_config: TrainConfig, n_train: int, n_val: int) -> None:
    print(f"{n_train:,} training and {n_val:,} validation tokens, vocabulary of {config.vocab_size}")
    print(f"{config.n_params():,} parameters, {train_config.steps:,} steps", flush=True)


def _finish(trainer: Trainer) -> None:
    """Write the model and the curve, and show what was learned."""
    from minillm.generate import generate_text
    from minillm.generate.warm_up import warm_up
    from minillm.train.metrics import METRICS_FILE
    from minillm.train.plots import plot_losses
    from minillm.weights import MODEL_FILE, save_model

    model, curve = trainer.out / MODEL_FILE, trainer.out / "loss.png"
    save_model(model, trainer.model, trainer.tokenizer)
    drawn = plot_losses(trainer.out / METRICS_FILE, curve)
    compile_kernels(lambda: warm_up(trainer.model.config))
    sample = generate_text(
        trainer.model, trainer.tokenizer, "", SAMPLE_TOKENS, temperature=SAMPLE_TEMPERATURE, seed=trainer.config.seed
    )
    print(f"\nsample:\n{''.join(sample)}\n")
    print(
        f"validation loss {trainer.val_loss:.4f} nats per token, {trainer.val_bits_per_byte:.4f} bits per byte, "
        f"after {trainer.seconds:.0f} s of training"
    )
    print(f"model       {model}")
    print(f"loss curve  {curve if drawn else 'not drawn: matplotlib is missing (pip install matplotlib)'}")
