"""The section `race` of `params.yaml`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from core.executors import EXECUTORS, ExecutorSettings
from core.executors.local import LocalSettings
from core.settings import OneOf, Threaded


class RaceParams(Threaded):
    """Which networks are trained, and how long each of them.

    The recipe is that of the section `train`; a rung is a share of its steps.
    """

    candidates: int = Field(4, ge=2)
    """Networks per device at the first rung; fewer only if its band and ranking have no more, and
    more only if other devices or an earlier race propose more that fit."""
    from_search: int = Field(1, ge=1)
    """Networks among them that are the best of its ranking."""
    controls: int = Field(2, ge=0)
    """Networks among them that are drawn at random from the band, to compare the winner with."""
    guided: int = Field(0, ge=0)
    """Networks per device that are proposed after the first rung by a regression on all trainings,
    earlier ledgers' included."""
    band: float = Field(0.9, gt=0, le=1)
    """Random, largest and deepest networks take at least this share of the device's tightest
    budget."""
    rungs: tuple[float, ...] = Field((0.125, 0.25, 0.5, 1.0), strict=False)
    """Shares of the training after which networks are compared; ends with 1. With `keep: 0.5`
    and one finalist a race of 8 networks costs 31% of training all of them to the end."""
    keep: float = Field(0.5, gt=0, lt=1)
    """Share of a device's networks that continue after a rung, rounded up; never fewer than
    `finalists`."""
    finalists: int = Field(1, ge=1)
    """Networks per device that are trained to the end."""
    finish_controls: bool = False
    """Whether the controls are trained to the end, so that final accuracies are compared."""
    repeats: int = Field(0, ge=0)
    """Networks of the first rung that are trained again with another seed, to estimate the noise
    of training; 0: not estimated, and no tie is decided by speed."""
    executor: Annotated[
        ExecutorSettings,
        OneOf("executor", [executor.settings_type for executor in EXECUTORS.values()]),
    ] = LocalSettings()
    """Where networks are trained: `local`, several at once on this machine, or another entry with
    its settings. The results do not depend on it."""
    bootstrap: int = Field(1000, ge=1)
    """Bootstrap resamples for the confidence intervals of tau."""
    ledger: str = Field("models/inputs/ledger", min_length=1)
    """An earlier `ledger.json`, or the folder that has it: its trainings of the same data and
    recipe are not repeated, all others inform `guided`, and its winners take part. `dvc.yaml`
    passes it to the stage. The default folder is empty."""

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if not rungs or rungs[-1] != 1 or rungs[0] <= 0:
            raise ValueError("rungs are shares of the training above 0, and end with 1")
        if any(first >= second for first, second in pairwise(rungs)):
            raise ValueError("rungs rise from one to the next")
        return rungs

    @model_validator(mode="after")
    def _fits(self) -> RaceParams:
        if self.from_search + self.controls > self.candidates:
            raise ValueError("from_search and controls together are at most candidates")
        return self

    def steps(self, whole: int) -> tuple[int, ...]:
        """The rungs in steps, of a training of `whole` steps; each once, rising."""
        return tuple(dict.fromkeys(max(1, round(share * whole)) for share in self.rungs))

    def survivors(self, count: int) -> int:
        """How many of a device's `count` networks continue after a rung."""
        return min(count, max(self.finalists, -int(-count * self.keep // 1)))
