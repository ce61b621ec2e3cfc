"""What a source of teachers is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training import Run
from stages.common.learning import Images
from stages.common.teachers import Teacher


@dataclass(frozen=True)
class Given:
    """The inputs of the stage.

    Attributes:
        images: the data set.
        space: file of the search space.
        supernet: folder of the supernet stage.
        file: the user's own.
    """

    images: Images
    space: Path
    supernet: Path
    file: Path


@dataclass(frozen=True)
class Taught:
    """A teacher that is ready.

    Attributes:
        teacher: to be asked.
        summary: what `teacher.json` says of it besides its source and accuracy.
        files: from which `open_teacher` makes it again, by name.
        batch: images it is asked about at once.
        run: its training; None if nothing was trained.
    """

    teacher: Teacher
    summary: Mapping[str, Any]
    files: Mapping[str, bytes]
    batch: int
    run: Run | None = None
