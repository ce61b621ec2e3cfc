"""What is recorded of a trained network, as the bundle reads it."""

from __future__ import annotations

from typing import ClassVar

from core.artifact import Artifact, Record, Rounded
from models.nets.equivalence import EquivalenceCheck


class SplitAccuracy(Record):
    """Top-1 accuracy by split."""

    val: Rounded
    test: Rounded


class TrainRecord(Artifact):
    """A trained network without its weights."""

    SCHEMA: ClassVar[str] = "netwright/train/1"
    FILE: ClassVar[str] = "train.json"

    architecture_id: str
    short: str
    accuracy: SplitAccuracy
    slice: EquivalenceCheck
    """Of its slice against the supernet, before the training."""
    epochs: Rounded
    """Passes over the training split."""
    flops: int
    parameters: int
