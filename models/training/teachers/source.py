"""Inputs and result of a teacher source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.learning import Images
from models.training.loop import Run
from models.training.teachers.load import Teacher
from models.training.teachers.onnx import OpenOnnx


@dataclass(frozen=True)
class Inputs:
    """The inputs of the stage.

    Attributes:
        images: the data set.
        space: file of the search space.
        supernet: folder of the supernet stage.
        file: the user's file.
        onnx: opens an ONNX file in ONNX Runtime.
    """

    images: Images
    space: Path
    supernet: Path
    file: Path
    onnx: OpenOnnx


@dataclass(frozen=True)
class Result:
    """A finished teacher.

    Attributes:
        teacher: from images to logits.
        summary: content of `teacher.json` besides source and accuracy.
        files: by name, from which `open_teacher` loads it.
        batch: images per inference batch.
        run: its training; None if it was not trained.
    """

    teacher: Teacher
    summary: Mapping[str, Any]
    files: Mapping[str, bytes]
    batch: int
    run: Run | None = None
