"""Results of the checks, as they are printed and kept."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from core.artifact import Artifact, Record

Status = Literal["passed", "failed", "skipped", "not run"]


class Value(Record):
    """One number of a check."""

    what: str
    value: float | None
    """None: not a finite number."""
    limit: float | None = None
    """The largest value that passes; None: for information."""

    @classmethod
    def of(cls, what: str, value: float, limit: float | None = None) -> Self:
        """A value with 6 significant digits; NaN and infinity become None."""
        shown = float(f"{value:.6g}") if math.isfinite(value) else None
        return cls(what=what, value=shown, limit=limit)

    @property
    def holds(self) -> bool:
        """Whether it is within its limit; a number that is not finite is not."""
        return self.limit is None or (self.value is not None and self.value <= self.limit)

    def __str__(self) -> str:
        shown = "not finite" if self.value is None else f"{self.value:.3g}"
        if self.limit is None:
            return f"{self.what} {shown}"
        return f"{self.what} {shown} ({'at most' if self.holds else 'MORE THAN'} {self.limit:g})"


class Outcome(Artifact):
    """What a check found: its numbers, or why it cannot run here."""

    SCHEMA = "netwright/gpu-check-outcome/1"
    FILE = "outcome.json"

    values: tuple[Value, ...] = ()
    skipped: str | None = None
    """Why the check does not apply to this machine."""


class Row(Record):
    """One check of a report."""

    name: str
    claim: str
    """What holds if it passes."""
    status: Status
    reason: str = ""
    """Why it failed, was skipped or not run."""
    values: tuple[Value, ...] = ()
    seconds: float


class Report(Artifact):
    """All checks on one machine."""

    SCHEMA = "netwright/gpu-check/1"
    FILE = "gpu-check.json"

    gpu: str | None
    """Name and compute capability; None: no NVIDIA GPU."""
    versions: dict[str, Any]
    """Of torch, CUDA, cuDNN, NCCL and TensorRT; None: not installed."""
    rows: tuple[Row, ...]

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(row.status == "failed" for row in self.rows)
