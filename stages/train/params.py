"""Params of the train stage."""

from __future__ import annotations

from pydantic import Field

from stages.common.learning import LearningParams


class TrainParams(LearningParams):
    """How a device's network is trained."""

    distill_weight: float = Field(ge=0, le=1)
    """Share of the teacher's soft labels in the loss; the rest is cross-entropy."""
    temperature: float = Field(gt=0)
    """Softens teacher and student alike; 1 leaves them as they are."""
    slice_share: float = Field(ge=0, le=1)
    """Of the supernet's weights in the start, the rest being fresh: 1 the slice, 0 scratch."""
    ema_decay: float = Field(ge=0, lt=1)
    """Of the moving average of the weights; the average is what the stage delivers."""
    recalibration_batches: int = Field(16, ge=1)
    """Training batches for the final batch norms' statistics."""
    slice_images: int = Field(1000, ge=1)
    """Test images on which the slice is compared with the supernet."""
    slice_difference: float = Field(0.001, gt=0)
    """Largest difference of any logit between the two, as a share of the largest logit."""
    slice_agreement: float = Field(0.99, ge=0, le=1)
    """Share of those images on which the two must give the same answer."""
    slice_accuracy_drop: float = Field(0.01, ge=0, le=1)
    """Most top-1 accuracy the slice may lose against the supernet."""
