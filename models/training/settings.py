"""Params of the train stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from core.distributed import check_parts
from models.nets.equivalence import Limits
from models.training.learning import Images, NetworkParams


class SliceLimits(Limits):
    """Limits of the equivalence check of supernet and slice."""

    images: int = Field(1000, ge=1)
    """Test images on which the slice is compared with the supernet."""


class TrainParams(NetworkParams):
    """How a device's network is trained."""

    epochs: float = Field(2.5, gt=0)
    """Passes over the training split; fractions are allowed."""
    min_steps: int = Field(400, ge=1)
    """Fewest steps, whatever `epochs` says: an epoch of a small data set is only a few steps."""
    ema_decay: float = Field(0.995, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the result; 0: the last weights."""
    processes: int = Field(1, ge=1)
    """Processes that share every batch (data parallelism); each has `threads` threads."""
    distill_weight: float = Field(0.2, ge=0, le=1)
    """Share of the teacher's soft labels in the loss; the rest is cross-entropy."""
    temperature: float = Field(2.0, gt=0)
    """Softmax temperature of teacher and student; 1 leaves them unchanged."""
    soft_labels: Literal["cached", "live"] = "cached"
    """cached: the teacher's stored logits of the images without augmentation, at no cost. live: its
    forward pass at every step on the augmented and mixed images."""
    slice: SliceLimits = SliceLimits(difference=0.001, agreement=0.99, accuracy_drop=0.01)
    """Of the network cut out of the supernet, before its training, against the supernet."""

    @field_validator("processes")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        if "batch" in info.data:
            check_parts(info.data["batch"], count)
        return count

    @field_validator("soft_labels")
    @classmethod
    def _full_size(cls, soft_labels: str, info: ValidationInfo) -> str:
        if soft_labels == "live" and info.data.get("first_size", 1) != 1:
            raise ValueError(
                "a live teacher is for images of full size; use cached, or first_size: 1"
            )
        return soft_labels

    def check(self, data: Images) -> None:
        """Check that a batch of these images divides among the processes.

        Raises:
            ValueError: it does not.
        """
        check_parts(min(self.batch, len(data.train)), self.processes)
