"""Params of the train stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.common.launch import check_parts
from stages.common.learning import NetworkParams


class TrainParams(NetworkParams):
    """How a device's network is trained."""

    processes: int = Field(1, ge=1)
    """Processes that share every batch (data parallelism); each has `threads` threads."""
    distill_weight: float = Field(ge=0, le=1)
    """Share of the teacher's soft labels in the loss; the rest is cross-entropy."""
    temperature: float = Field(gt=0)
    """Softens teacher and student alike; 1 leaves them as they are."""
    soft_labels: Literal["cached", "live"] = "cached"
    """Cached: what the teacher said of the plain images, which costs nothing. Live: it is asked
    again at every step, about the images as they were augmented and mixed."""
    slice_images: int = Field(1000, ge=1)
    """Test images on which the slice is compared with the supernet."""
    slice_difference: float = Field(0.001, gt=0)
    """Largest difference of any logit between the two, as a share of the largest logit."""
    slice_agreement: float = Field(0.99, ge=0, le=1)
    """Share of those images on which the two must give the same answer."""
    slice_accuracy_drop: float = Field(0.01, ge=0, le=1)
    """Most top-1 accuracy the slice may lose against the supernet."""

    @field_validator("processes")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        if "batch" in info.data:
            check_parts(info.data["batch"], count)
        return count
