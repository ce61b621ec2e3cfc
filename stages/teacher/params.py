"""Params of the teacher stage."""

from __future__ import annotations

from pydantic import Field

from stages.common.learning import LearningParams


class TeacherParams(LearningParams):
    """How the largest network is trained."""

    slice_share: float = Field(ge=0, le=1)
    """Of the supernet's weights in the start, the rest being fresh: 1 the slice, 0 scratch."""
    ema_decay: float = Field(ge=0, lt=1)
    """Of the moving average of the weights; the average is what the stage delivers."""
    recalibration_batches: int = Field(16, ge=1)
    """Training batches for the final batch norms' statistics."""
