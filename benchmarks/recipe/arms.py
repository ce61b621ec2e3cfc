"""Recipes under comparison, by question. Only differences from `BASE` are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from data.dataset import Augment

BASE: Mapping[str, Any] = {"batch": 64, "learning_rate": 0.1, "weight_decay": 0.00005}
"""Settings of `NetworkParams` that the arms change; all others have their defaults."""

STILL = Augment(flip=False, shift=0)


@dataclass(frozen=True)
class Arm:
    """One recipe.

    Attributes:
        changes: of `BASE`.
        augment: of the training images.
        averaged: horizon of the averaged weights, as a share of the steps.
    """

    changes: Mapping[str, Any]
    augment: Augment = STILL
    averaged: float = 0.05

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of `NetworkParams`, without epochs and seed."""
        return {**BASE, **self.changes}


@dataclass(frozen=True)
class Question:
    """Arms that are compared, and on what.

    Attributes:
        base: the arm that the others are compared with.
        passes: images of full size that a training may cost.
        images: training images, evenly spaced; None for all.
        networks: networks per space and data set, of different seeds.
        rungs: shares of the schedule at which the averaged weights are judged.
    """

    heading: str
    arms: Mapping[str, Arm]
    base: str
    passes: int
    images: int | None = None
    networks: int = 3
    rungs: tuple[float, ...] = field(default=())


def rated(schedule: str, rate: float, batch: int = 64, **more: object) -> Arm:
    """A schedule with a peak rate."""
    return Arm({"schedule": schedule, "learning_rate": rate, "batch": batch, **more})


LONG_RISE: Mapping[str, Any] = {"warmup_fraction": 0.2}
BOTH = Augment(flip=True, shift=2)
SHORT, DEMO = 27_000, 108_000
"""Images of full size that a training costs; `DEMO` are 2 epochs of Fashion-MNIST."""
HALF = 27_000
"""Training images of the short trainings: an epoch of them is as short as the training."""
RUNGS = (0.25, 0.5)
FEW = 9_000
"""Training images of the questions on augmentation: several epochs at the same cost."""

RATES = {
    **{f"cosine {rate:g}": rated("cosine", rate) for rate in (0.05, 0.1, 0.2)},
    **{f"linear {rate:g}": rated("linear", rate, **LONG_RISE) for rate in (0.05, 0.1, 0.2)},
    **{f"trapezoid {rate:g}": rated("trapezoid", rate) for rate in (0.05, 0.1)},
}
BEST: tuple[str, float] = ("trapezoid", 0.1)
ONE_CYCLE: tuple[str, float] = ("linear", 0.1)
BATCHES = {
    "64, 0.1": rated(*ONE_CYCLE, **LONG_RISE),
    "128, 0.1": rated(*ONE_CYCLE, 128, **LONG_RISE),
    "128, 0.2": rated("linear", 0.2, 128, **LONG_RISE),
    "32, 0.05": rated("linear", 0.05, 32, **LONG_RISE),
}
INGREDIENTS = {
    "base": rated(*ONE_CYCLE, **LONG_RISE),
    "sizes from a half": rated(*ONE_CYCLE, **LONG_RISE, first_size=0.5),
    "weight decay 0.0005": rated(*ONE_CYCLE, **LONG_RISE, weight_decay=0.0005),
    "label smoothing 0.1": rated(*ONE_CYCLE, **LONG_RISE, label_smoothing=0.1),
    "AdamW 0.004": rated("linear", 0.004, **LONG_RISE, optimizer="adamw", weight_decay=0.02),
}
AUGMENTED = {
    "none": rated(*BEST),
    "flips and shifts": replace(rated(*BEST), augment=BOTH),
}
JUDGED = {
    "cosine 0.1": rated("cosine", 0.1),
    "trapezoid 0.1": rated("trapezoid", 0.1),
    "linear 0.1": rated(*ONE_CYCLE, **LONG_RISE),
}
DEMOS = {
    "cosine 0.1": replace(rated("cosine", 0.1), averaged=0.12),
    "trapezoid 0.1": rated(*BEST),
}
QUESTIONS: Mapping[str, Question] = {
    "rates": Question("Schedules and peak rates", RATES, "cosine 0.1", SHORT, HALF),
    "demo": Question("The demo's length", DEMOS, "cosine 0.1", DEMO),
    "batches": Question("Batches and rates", BATCHES, "64, 0.1", SHORT, HALF),
    "ingredients": Question("Single ingredients", INGREDIENTS, "base", SHORT, HALF),
    "augment": Question("Augmentation, 3 epochs", AUGMENTED, "none", SHORT, FEW),
    "augment-long": Question("Augmentation, 6 epochs", AUGMENTED, "none", 2 * SHORT, FEW),
    "rungs": Question("Judging before the end", JUDGED, "cosine 0.1", SHORT, HALF, 6, RUNGS),
}
