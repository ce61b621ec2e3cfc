"""`candidates.json`: the architectures that a search found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.artifact import Artifact, Record, Rounded
from models.space.architecture import ArchitectureJson

Costs = dict[str, int | float | None]
"""Predicted costs by name; None if not known."""


class Candidate(Record):
    """An architecture found by the search."""

    architecture: ArchitectureJson
    architecture_id: str
    log_probability: float | None
    """In the search's final distribution; None without one."""
    costs: Costs
    nll: Rounded = None
    """Mean cross-entropy of its slice, nats per image, on validation images that are the same for
    all candidates; None if not evaluated on them."""


class Candidates(Artifact):
    """The architectures that a search found, best first."""

    SCHEMA: ClassVar[str] = "netwright/candidates/1"
    FILE: ClassVar[str] = "candidates.json"

    algorithm: str
    space: str
    """Name of the search space."""
    left_out: tuple[str, ...]
    """Operators that the device's space leaves out."""
    candidates: tuple[Candidate, ...]
    latency_margin: float | None
    """Fraction of the latency budget left free; None without a latency budget."""
    sampled_architectures: int
    """Evaluations in the steps; `judged_architectures` are evaluated again after the last one."""
    judged_architectures: int = 0


@dataclass(frozen=True)
class SearchOutput:
    """A search's output, as the stages after it read it: candidates, and `history.csv`."""

    candidates: Candidates
    history: Path

    @classmethod
    def read(cls, folder: Path) -> SearchOutput:
        """Read the folder of a device's search."""
        return cls(Candidates.read(folder), folder / "history.csv")
