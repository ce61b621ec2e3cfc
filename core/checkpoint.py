"""Checkpoints beside a stage's output, from which a killed run resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from core.files import atomic_path, fingerprint

_ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "data", "models", "devices", "stages")
"""The packages that stages use."""


class Checkpoint:
    """The last saved state of one long loop.

    It is stored in a hidden folder BESIDE the stage's output (DVC clears the output itself before
    a stage runs) with a fingerprint of the stage's inputs: a state saved for other inputs is never
    resumed.
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


def inputs_fingerprint(stage: str, *parts: Any) -> str:
    """Fingerprint of all a stage's result depends on: its inputs, code and torch version.

    Inputs are settings, JSON values, files and folders. Of settings `checkpoint_every` is excluded,
    because results do not depend on it.
    """
    # Everything, not only what this one imports: an import inside a function
    # would be missed, and a stale checkpoint costs more than a training that starts again.
    sources = [p for room in ROOMS for p in sorted((_ROOT / room).rglob("*.py"))]
    code = [source.read_text(encoding="utf-8") for source in sources]
    values = [
        part.model_dump(exclude={"checkpoint_every"}) if isinstance(part, BaseModel) else part
        for part in parts
    ]
    return fingerprint(stage, code, torch.__version__, *values)
