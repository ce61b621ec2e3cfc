"""Interface of teacher sources.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from core.artifact import Artifact
from core.checkpoint import Checkpoint
from core.settings import Named
from data.dataset import DatasetInfo, SplitName
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images, NetworkParams
from models.training.loop import Run

Teacher = Callable[[Tensor], Tensor]
"""Maps the data set's normalised images (N, C, H, W) to logits (N, K)."""
OpenOnnx = Callable[[Path, int], Any]
"""Opens an ONNX file with a number of threads: a `devices.runtimes.onnxruntime.session` session."""
WEIGHTS = "teacher.safetensors"


class TeacherRecord(Artifact):
    """`teacher.json`: which teacher it is, and its accuracy."""

    SCHEMA: ClassVar[str] = "netwright/teacher/2"
    FILE: ClassVar[str] = "teacher.json"

    source: str
    accuracy: dict[SplitName, float | None] = Field(default_factory=dict)
    """Top-1 accuracy per split; empty until it is evaluated."""

    @abstractmethod
    def load(self, folder: Path, info: DatasetInfo, threads: int, onnx: OpenOnnx) -> Teacher:
        """Load the teacher from the stage's output, for images of this data set."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of the stage; `file` is the user's."""

    images: Images
    space: SearchSpace
    supernet: Supernet
    file: Path
    onnx: OpenOnnx


@dataclass(frozen=True)
class Result:
    """A finished teacher.

    Attributes:
        record: without the accuracy.
        files: by name, from which `record.load` loads it.
        batch: images per inference batch.
        run: its training; None if it was not trained.
    """

    teacher: Teacher
    record: TeacherRecord
    files: Mapping[str, bytes]
    batch: int
    run: Run | None = None


class Source(Named):
    """Where a teacher comes from, with the settings of that source."""

    record_type: ClassVar[type[TeacherRecord]]

    @abstractmethod
    def check(self, file: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx) -> None:
        """Check, before a run, that the user's file is valid and fits the data set.

        Args:
            file: `teacher.file`.
            pixels: height and width of the data set's images.
            info: None if there is no prepared data set yet: classes and channels are unknown.
            onnx: opens an ONNX file.

        Raises:
            UserError: a check failed; the message has the fix.
        """

    @abstractmethod
    def teach(self, inputs: Inputs, params: NetworkParams, checkpoint: Checkpoint) -> Result:
        """Load or train the teacher.

        Raises:
            UserError: the user's file does not fit the data set.
        """
