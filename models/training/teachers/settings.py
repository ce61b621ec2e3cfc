"""Params of the teacher stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.errors import UserError
from core.settings import OneOf
from data.dataset import DatasetInfo
from models.training.learning import NetworkParams
from models.training.teachers import SOURCES
from models.training.teachers.base import OpenOnnx, Source
from models.training.teachers.space import SpaceSource


class TeacherParams(NetworkParams):
    """Which teacher, and how it is trained."""

    min_steps: int = Field(300, ge=1)
    """Fewest steps, whatever `epochs` says: an epoch of a small data set is only a few steps."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between two checkpoints."""
    source: Annotated[Source, OneOf("source", SOURCES)] = SpaceSource()
    """The space's largest network, one of torchvision's, or an ONNX file: space, torchvision or
    onnx. With settings: `{name: torchvision, network: resnet18, fine_tune: true}`."""
    file: str = Field("models/inputs/teacher", min_length=1)
    """Weights for `torchvision` or the network for `onnx`, relative to the repository root; `space`
    does not read it. `dvc.yaml` passes it to the stage. The default folder is empty: no file."""

    def check(self, root: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx) -> None:
        """Check, before a run, the user's file; see `Source.check`.

        Raises:
            UserError: a check failed; the message has the fix.
        """
        file = root / self.file
        if not file.exists():
            raise UserError(
                f"teacher.file: {file} is not a file. Set it to your teacher's file, or to "
                f"{type(self).model_fields['file'].default} if the teacher comes from the space."
            )
        self.source.check(file, pixels, info, onnx)
