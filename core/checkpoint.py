"""Checkpoints beside a stage's output, from which a killed run resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from core.files import atomic_path, fingerprint
from core.settings import Params

_ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("core", "data", "models", "devices")


class Checkpoint:
    """The last saved state of one long loop.

    It is stored in a hidden folder BESIDE the stage's output (DVC clears the output itself before
    a stage runs) with a fingerprint of the stage's inputs: a state saved for other inputs is never
    resumed.

    Args:
        output: the stage's declared output folder.
        inputs: fingerprint of everything the result depends on.
    """

    def __init__(self, output: Path, inputs: str) -> None:
        self.folder = output.with_name(f".{output.name}.partial")
        self.inputs = inputs

    def load(self) -> dict[str, Any] | None:
        """Return the last state, or None if there is none for these inputs."""
        file = self.folder / "state.pt"
        if not file.is_file():
            return None
        # weights_only: tensors and plain values, never arbitrary objects.
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content["inputs"] != self.inputs:
            return None
        return dict(content["state"])

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; `state` holds tensors, numbers, strings, lists and dicts."""
        with atomic_path(self.folder / "state.pt") as temporary:
            torch.save({"inputs": self.inputs, "state": state}, temporary)

    def clear(self) -> None:
        """Remove the state: the stage's output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def inputs_fingerprint(stage: str, params: Params, *files: Path) -> str:
    """Fingerprint of all a stage's result depends on: params, files, code and torch version.

    Args:
        stage: the stage's name.
        params: its params; `checkpoint_every` is excluded because results do not depend on it.
        files: the files and folders it reads.
    """
    # Everything below the stages, not only what this one imports: an import inside a function
    # would be missed, and a stale checkpoint costs more than a training that starts again.
    sources = [p for room in _ROOMS for p in sorted((_ROOT / room).rglob("*.py"))]
    sources.append(_ROOT / "stages" / f"{stage}.py")
    code = [source.read_text(encoding="utf-8") for source in sources]
    values = params.model_dump(exclude={"checkpoint_every"})
    return fingerprint(stage, values, code, torch.__version__, *files)
