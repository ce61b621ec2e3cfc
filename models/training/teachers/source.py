"""Inputs and result of a teacher source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.loop import Run
from models.training.teachers.load import Teacher
from models.training.teachers.onnx import OpenOnnx
from models.training.teachers.record import TeacherRecord


@dataclass(frozen=True)
class Inputs:
    """The inputs of the stage.

    Attributes:
        images: the data set.
        space: the search space.
        supernet: trained.
        file: the user's file.
        onnx: opens an ONNX file in ONNX Runtime.
    """

    images: Images
    space: SearchSpace
    supernet: Supernet
    file: Path
    onnx: OpenOnnx


@dataclass(frozen=True)
class Result:
    """A finished teacher.

    Attributes:
        teacher: from images to logits.
        record: content of `teacher.json`, without the accuracy.
        files: by name, from which `open_teacher` loads it.
        batch: images per inference batch.
        run: its training; None if it was not trained.
    """

    teacher: Teacher
    record: TeacherRecord
    files: Mapping[str, bytes]
    batch: int
    run: Run | None = None
