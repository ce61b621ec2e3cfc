"""Params of the supernet stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator

from core.distributed import check_parts
from core.errors import UserError
from core.settings import Named, OneOf
from data.dataset import Augment
from models.nets.pretrained import STARTS
from models.nets.pretrained.base import Start
from models.nets.pretrained.match import start_from
from models.nets.pretrained.none import RandomStart
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images, LearningParams
from models.training.loop import Recipe
from models.training.strategies import STRATEGIES
from models.training.strategies.spos import SinglePathSettings

MOST_EQUAL_VIEWS = 0.25
"""Largest share of equal views: a flip alone has 1 of 2, a shift by one pixel 1 of 9."""
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
    start_from: Annotated[Start, OneOf("start_from", STARTS)] = RandomStart()
    """Initial weights: none (random), efficientnet_lite0 (ImageNet; for the space `lite`),
    torchvision (for the space `mobilenet-v2`), or supernet (an earlier release's; names that the
    space shares are copied)."""
    file: str = Field("models/inputs/supernet", min_length=1)
    """Weights for `start_from`, relative to the repository root: for `torchvision` a state dict or
    safetensors, for `supernet` a `supernet.safetensors` or the folder that has it. `dvc.yaml`
    passes it to the stage. The default folder is empty: no file."""
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
    """Random networks whose validation accuracy goes into the history. The stage fails if it is not
    better than chance; 0 networks: not checked."""
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

    def check_start(self, root: Path, space: SearchSpace) -> None:
        """Check, before a run, that the weights of `start_from` exist and fit the space.

        Raises:
            UserError: they do not; the message has the fix.
        """
        file = root / self.file
        if not file.exists():
            raise UserError(
                f"supernet.file: {file} does not exist. Set it to the weights' file, or to "
                f"{type(self).model_fields['file'].default} if start_from reads no file."
            )
        weights = self.start_from.read(file)
        if weights is not None:
            channels = space.image_shape[0]
            plain = (0.5,) * channels
            start_from(Supernet(space), space, weights, plain, plain)

    def check_views(self, augment: Augment) -> None:
        """Check that the two views of a strategy that compares views differ.

        Raises:
            UserError: they are too often the same image.
        """
        if STRATEGIES[self.strategy.name].views == 1 or augment.equal_views <= MOST_EQUAL_VIEWS:
            return
        raise UserError(
            f"supernet.strategy '{self.strategy.name}' compares two views of every image, but with "
            f"data.augment (flip: {str(augment.flip).lower()}, shift: {augment.shift}) they are "
            f"the same in {augment.equal_views:.0%} of the steps, which teaches nothing. Set "
            f"data.augment.shift to at least 1 pixel, or choose another strategy."
        )

    def check(self, data: Images) -> None:
        """Check the strategy's views, and that a batch divides among the processes.

        Raises:
            ValueError: the views are the same, or the batch does not divide.
        """
        self.check_views(data.info.augment)
        check_parts(min(self.batch, len(data.train)), self.processes * self.accumulate)
