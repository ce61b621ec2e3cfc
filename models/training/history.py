"""`history.json`: what a training recorded at its steps."""

from __future__ import annotations

from typing import ClassVar

from core.artifact import Artifact, Record
from models.training.learning import history_rows
from models.training.loop import Run

Row = dict[str, float | None]
"""Values of one window of steps by name, such as `step`, `loss` and `accuracy`."""


class History(Artifact):
    """The recorded steps of a training; none if nothing was trained."""

    SCHEMA: ClassVar[str] = "netwright/history/1"
    FILE: ClassVar[str] = "history.json"

    steps: tuple[Row, ...]


class SampledNetwork(Record):
    """A random network of a supernet."""

    architecture_id: str
    short: str
    val_accuracy: float | None


class SupernetHistory(History):
    """The training of a supernet, and the accuracy of some of its networks."""

    space: str
    """Name of the search space."""
    architectures: int
    """Number of the space's architectures."""
    strategy: str
    peak_step_bytes: int
    """Peak memory of a step, besides weights and batch."""
    judge: str
    """What `subnets` were evaluated with: the classifier, or a linear probe on features."""
    subnets: tuple[SampledNetwork, ...]


def recorded_steps(run: Run | None) -> tuple[Row, ...]:
    """The history of a run; empty if there was none."""
    return () if run is None else tuple(history_rows(run))
