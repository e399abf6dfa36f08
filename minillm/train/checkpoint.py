"""Checkpoints: all that a run needs to go on as if it had never stopped.

RUN/checkpoints/step-0000500/ holds model.safetensors, optimizer.safetensors and manifest.json. It is written under a
temporary name and renamed when all of it is on the disk, so a folder without `.tmp` is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minillm.errors import UserError
from minillm.files import replacing, replacing_folder
from minillm.model import GPT
from minillm.optim import AdamW
from minillm.tensor_file import read_tensors, write_tensors
from minillm.tokenizer import Tokenizer
from minillm.weights import MODEL_FILE, save_model, set_weights

FOLDER, OPTIMIZER_FILE, MANIFEST_FILE = "checkpoints", "optimizer.safetensors", "manifest.json"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint whose files are as they were written."""

    folder: Path
    manifest: dict[str, Any]

    def restore(self, model: GPT, optimizer: AdamW) -> None:
        """Set the weights and the optimizer's state.

        Raises:
            UserError: they belong to another model.
        """
        weights, _ = read_tensors(self.folder / MODEL_FILE)
        set_weights(model, weights, self.folder / MODEL_FILE)
        state, _ = read_tensors(self.folder / OPTIMIZER_FILE)
        optimizer.load_state(state)


def save_checkpoint(run: Path, model: GPT, tokenizer: Tokenizer, optimizer: AdamW, manifest: dict[str, Any]) -> Path:
    """Write the checkpoint of manifest["step"], unless there is one, and delete all but the newest KEPT.

    Raises:
        UserError: it cannot be written; earlier checkpoints are then unchanged.
    """
    folder = run / FOLDER / f"step-{manifest['step']:07}"
    if not folder.exists():
        with replacing_folder(folder) as temporary:
            save_model(temporary / MODEL_FILE, model, tokenizer)
            write_tensors(temporary / OPTIMIZER_FILE, optimizer.state(), {})
            files = {name: _sha256(temporary / name) for name in (MODEL_FILE, OPTIMIZER_FILE)}
            with replacing(temporary / MANIFEST_FILE) as path:
                path.write_text(json.dumps({**manifest, "files": files}, indent=2), encoding="utf-8")
    for old in _complete(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def newest_checkpoint(run: Path) -> Checkpoint:
    """The newest complete checkpoint of a run, verified; what a kill left half-written is removed.

    Raises:
        UserError: there is none, or its files are not as they were written.
    """
    for temporary in (run / FOLDER).glob("step-*.tmp"):
        shutil.rmtree(temporary, ignore_errors=True)
    folders = _complete(run)
    if not folders:
        raise UserError(f"there is no checkpoint in {str(run)!r}: give the folder of a run, or start without --resume")
    fault = None
    try:
        manifest = json.loads((folders[-1] / MANIFEST_FILE).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            if _sha256(folders[-1] / name) != expected:
                fault = f"{name} was altered or cut short since it was written"
    except (OSError, ValueError, KeyError) as error:
        fault = f"{type(error).__name__}: {error}"
    if fault:
        way_out = f"delete that folder to go on from {str(folders[-2])!r}" if folders[:-1] else "start with --overwrite"
        raise UserError(f"the newest checkpoint, {str(folders[-1])!r}, is damaged ({fault}): {way_out}")
    return Checkpoint(folders[-1], manifest)


def _complete(run: Path) -> list[Path]:
    """Folders of complete checkpoints, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("step-*") if path.suffix != ".tmp")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
