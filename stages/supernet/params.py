"""Params of the supernet stage."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator

from models.training import Recipe
from stages.common.launch import check_parts
from stages.common.learning import LearningParams
from stages.common.params import Params, nearest
from stages.supernet.strategies import STRATEGIES
from stages.supernet.strategies.pi import PiSettings
from stages.supernet.strategies.sandwich import SandwichSettings

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class SupernetParams(LearningParams):
    """How the supernet is trained, and how much of it is looked at afterwards."""

    strategy: str
    """Which paths a step trains, and on what: a name in the table of strategies."""
    sandwich: SandwichSettings = SandwichSettings()
    """Settings of the strategy `sandwich`; others do not read them."""
    pi: PiSettings = PiSettings()
    """Settings of the strategy `pi`; others do not read them."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In which networks compute (autocast); weights, statistics and losses stay float32."""
    channels_last: bool = True
    """Keep a pixel's channels side by side in memory: quicker for most networks and processors."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is trained; with cuda every process has a graphics card of its own."""
    processes: int = Field(1, ge=1)
    """Processes that share every batch (data parallelism); each has `threads` threads."""
    accumulate: int = Field(1, ge=1)
    """Parts into which every process divides its batch to need less memory. The step is that of
    the undivided batch, except that batch norms see one part at a time."""
    report_subnets: int = Field(8, ge=0)
    """Random networks whose validation accuracy goes into the history."""
    report_images: int = Field(1000, ge=1)
    """Validation images for each of them."""
    probe_images: int = Field(2000, ge=2)
    """Training images for their linear probes, where the classifier learned nothing."""
    recalibration_batches: int = Field(4, ge=1)
    """Training batches for those networks' batch norms."""

    @field_validator("strategy")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError(f"no strategy '{name}'.{nearest(name, STRATEGIES)}")
        return name

    @field_validator("processes", "accumulate")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        batch, parts = info.data.get("batch"), count
        if info.field_name == "accumulate":
            parts *= info.data.get("processes", 1)
        if batch is not None:
            check_parts(batch, parts)
        return count

    @property
    def settings(self) -> Params | None:
        """Those of the chosen strategy, where it has any."""
        found = getattr(self, self.strategy, None)
        return found if isinstance(found, Params) else None

    def recipe(self, steps_per_epoch: int, ema_decay: float | None = None) -> Recipe:
        """The recipe for a training split that gives this many steps per epoch."""
        recipe = super().recipe(steps_per_epoch, ema_decay)
        return dataclasses.replace(recipe, accumulate=self.accumulate)
