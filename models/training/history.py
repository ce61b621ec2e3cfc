"""`history.json`: what a training recorded at its steps."""

from __future__ import annotations

from typing import ClassVar

from core.artifact import Artifact
from core.files import rounded
from models.training.loop import Run

Row = dict[str, float | None]
"""Values of one window of steps by name, such as `step`, `loss` and `accuracy`."""


class History(Artifact):
    """The recorded steps of a training; none if nothing was trained."""

    SCHEMA: ClassVar[str] = "netwright/history/1"
    FILE: ClassVar[str] = "history.json"

    steps: tuple[Row, ...]


def recorded_steps(run: Run | None) -> tuple[Row, ...]:
    """The history of a run; empty if there was none."""
    rows = () if run is None else run.history
    return tuple({name: rounded(value) for name, value in row.items()} for row in rows)
