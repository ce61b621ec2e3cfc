"""Params of the supernet stage."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator

from core.distributed import check_parts
from core.settings import Named, OneOf
from models.training.learning import Images, LearningParams
from models.training.loop import Recipe
from models.training.strategies import STRATEGIES
from models.training.strategies.spos import SinglePathSettings

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class SupernetParams(LearningParams):
    """How the supernet is trained, and how it is evaluated afterwards."""

    min_steps: int = Field(400, ge=1)
    """Fewest steps, whatever `epochs` says: an epoch of a small data set is only a few steps."""
    strategy: Annotated[
        Named, OneOf("strategy", [strategy.settings_type for strategy in STRATEGIES.values()])
    ] = SinglePathSettings()
    """Which paths a step trains, and on what: spos, fair, sandwich, bn_only or pi. With settings:
    `{name: pi, queue: 4096}`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Compute precision (autocast); weights, statistics and losses stay float32. float32 is IEEE on
    GPUs, too, without TF32."""
    channels_last: bool = True
    """Use the channels-last memory format, which is faster on most CPUs and networks."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is trained; with cuda every process has its own GPU. cuda is UNVERIFIED (no hardware
    available): `make gpu-check`."""
    processes: int = Field(1, ge=1)
    """Processes that share every batch (data parallelism); each has `threads` threads."""
    accumulate: int = Field(1, ge=1)
    """Gradient accumulation: parts per process and batch, to reduce memory. The step is that of the
    whole batch, except that batch norms see one part at a time."""
    report_subnets: int = Field(8, ge=0)
    """Random networks whose validation accuracy goes into the history."""
    report_images: int = Field(1000, ge=1)
    """Validation images for each of them."""
    probe_images: int = Field(2000, ge=2)
    """Training images for their linear probes, if the classifier was not trained."""
    recalibration_batches: int = Field(16, ge=1)
    """Training batches for those networks' batch norms."""

    @field_validator("processes", "accumulate")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        batch, parts = info.data.get("batch"), count
        if info.field_name == "accumulate":
            parts *= info.data.get("processes", 1)
        if batch is not None:
            check_parts(batch, parts)
        return count

    def recipe(self, steps_per_epoch: int) -> Recipe:
        """The recipe, with accumulated gradients."""
        return dataclasses.replace(super().recipe(steps_per_epoch), accumulate=self.accumulate)

    def check(self, data: Images) -> None:
        """Check that a batch of these images divides among the processes.

        Raises:
            ValueError: it does not.
        """
        check_parts(min(self.batch, len(data.train)), self.processes * self.accumulate)
