"""`history.json`: what a training recorded at its steps."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from core.artifact import Artifact, Rounded
from core.files import rounded
from models.training.loop import Run

Row = dict[str, float | None]
"""Values of one window of steps by name, such as `step`, `loss` and `accuracy`."""


class History(Artifact):
    """The recorded steps of a training; none if nothing was trained."""

    SCHEMA: ClassVar[str] = "netwright/history/1"
    FILE: ClassVar[str] = "history.json"

    steps: tuple[Row, ...]
    epochs: Rounded
    """Passes over the training split, as `epochs` and `min_steps` gave; None if not trained."""

    @classmethod
    def of(cls, run: Run | None, **more: Any) -> Self:
        """The history of a run, or of none, with the values `more` of a subclass."""
        epochs = None if run is None else run.recipe.epochs
        return cls(steps=recorded_steps(run), epochs=epochs, **more)


def recorded_steps(run: Run | None) -> tuple[Row, ...]:
    """The recorded steps of a run; empty if there was none."""
    rows = () if run is None else run.history
    return tuple({name: rounded(value) for name, value in row.items()} for row in rows)
