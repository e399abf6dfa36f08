"""Model files: the weights by path, with the configuration and the tokenizer in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autograd import backends
from minillm.config import GPTConfig
from minillm.errors import UserError
from minillm.model import GPT
from minillm.tensor_file import read_tensors, write_tensors
from minillm.tokenizer import Tokenizer, from_dict

MODEL_FILE = "model.safetensors"


def save_model(path: Path, model: GPT, tokenizer: Tokenizer) -> None:
    """Write `model` and `tokenizer` to the file `path`, from whichever backend the model is on.

    Raises:
        UserError: the file cannot be written; an earlier one is unchanged.
    """
    weights = {name: parameter.numpy() for name, parameter in model.named_parameters()}
    texts = {"config": json.dumps(asdict(model.config)), "tokenizer": json.dumps(tokenizer.to_dict())}
    write_tensors(path, weights, texts)


def load_model(path: Path | str) -> tuple[GPT, Tokenizer]:
    """The model, on the active backend and in evaluation mode, and the tokenizer it was trained with.

    Args:
        path: a run folder, a checkpoint folder, or a .safetensors file.

    Raises:
        UserError: no model there, or a file that is truncated, altered or not one of ours.
    """
    path = _model_file(Path(path))
    weights, texts = read_tensors(path)
    if not {"config", "tokenizer"} <= texts.keys():
        raise UserError(f"{str(path)!r} holds no model (no configuration in it): give a {MODEL_FILE}")
    config, tokenizer = GPTConfig.from_dict(json.loads(texts["config"])), from_dict(json.loads(texts["tokenizer"]))
    if tokenizer.vocab_size != config.vocab_size:
        raise UserError(
            f"{str(path)!r} has a tokenizer of {tokenizer.vocab_size} tokens and a model of {config.vocab_size}: "
            "use a file as minillm saved it"
        )
    if config.n_params() != sum(array.size for array in weights.values()):  # before a model of that size is made
        raise UserError(f"{str(path)!r} does not hold the weights of its configuration: use a file as minillm saved it")
    model = GPT(config)
    set_weights(model, weights, path)
    model.eval()
    return model, tokenizer


def set_weights(model: GPT, weights: Mapping[str, NDArray[np.generic]], path: Path) -> None:
    """Copy `weights`, read from `path`, into the model, one after another.

    Raises:
        UserError: names or shapes are not those of the model.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != weights.keys():
        raise UserError(
            f"{str(path)!r} has other parameters than its model: "
            f"{sorted(parameters.keys() ^ weights.keys())[0]!r} is in one only; use a file as minillm saved it"
        )
    for name, parameter in parameters.items():
        array = weights[name]
        if parameter.shape != array.shape:
            raise UserError(
                f"{name} in {str(path)!r} has shape {array.shape} and in the model {parameter.shape}: "
                "use a file as minillm saved it"
            )
        parameter.data = backends.backend_of(parameter.data).to_device(array)


def _model_file(path: Path) -> Path:
    """The model file that `path` stands for."""
    file = path / MODEL_FILE if path.is_dir() else path
    if file.is_file():
        return file
    saved = sorted(path.glob(f"checkpoints/step-*/{MODEL_FILE}"))
    if saved:
        raise UserError(
            f"the run in {str(path)!r} has not finished, so it has no {MODEL_FILE}: "
            f"go on with it (minillm train --resume), or give its checkpoint {str(saved[-1].parent)!r}"
        )
    raise UserError(
        f"there is no model at {str(path)!r}: give a folder that minillm train wrote, or a .safetensors file"
    )
