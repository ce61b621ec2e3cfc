"""`teacher.json`: which teacher it is, and its accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from core.artifact import Artifact, Record
from core.files import FileFormatError, read_json
from data.dataset import SplitName


class TeacherInput(Record):
    """What a teacher from outside sees of an image; None: as the data set's images are."""

    channels: int | None
    pixels: int | None
    """Height and width."""
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


class _Teacher(Artifact):
    SCHEMA: ClassVar[str] = "netwright/teacher/2"
    FILE: ClassVar[str] = "teacher.json"

    accuracy: dict[SplitName, float | None] = Field(default_factory=dict)
    """Top-1 accuracy per split; empty until it is evaluated."""


class SpaceRecord(_Teacher):
    """The space's largest network."""

    source: Literal["space"] = "space"
    architecture_id: str
    short: str
    flops: int
    parameters: int
    epochs: float


class TorchvisionRecord(_Teacher):
    """One of torchvision's classifiers."""

    source: Literal["torchvision"] = "torchvision"
    name: str
    """Its name in torchvision."""
    input: TeacherInput
    parameters: int
    fine_tuned: bool
    """Whether all layers were trained."""
    new_layer: str | None
    """The layer that was replaced for other classes."""
    epochs: float | None
    """None if it was not trained."""


class OnnxRecord(_Teacher):
    """An ONNX file of the user."""

    source: Literal["onnx"] = "onnx"
    input: TeacherInput
    outputs: Literal["probabilities", "logits"]


TeacherRecord = SpaceRecord | TorchvisionRecord | OnnxRecord


def read_record(folder: Path) -> TeacherRecord:
    """Read the record of a teacher of any source.

    Raises:
        FileFormatError: it is missing or malformed, or of another version.
    """
    file = folder / _Teacher.FILE
    source = read_json(file, _Teacher.SCHEMA).get("source")
    for kind in (SpaceRecord, TorchvisionRecord, OnnxRecord):
        if kind.model_fields["source"].default == source:
            return kind.read(folder)
    raise FileFormatError(f"{file}: unknown source {source!r}. Run the stage teacher.")
