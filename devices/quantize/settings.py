"""Params of the stage `quantize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from core.settings import Threaded
from devices.measure.settings import MeasureParams
from devices.quantize.calibration import METHODS, Method
from models.nets.equivalence import Limits, PrecisionLimits
from models.training.learning import LearningParams

When = Literal["needed", "always", "never"]
"""`needed`: int8 may be delivered and no variant built before meets `max_accuracy_drop`."""


class FinetuneParams(LearningParams):
    """Quantisation-aware fine-tuning."""

    when: When = "needed"
    """`needed`: int8 may be delivered and no variant without fine-tuning, mixed ones included,
    meets the device's `max_accuracy_drop`."""
    distill_weight: float = Field(1.0, ge=0, le=1)
    """Weight of self-distillation from the float network; the rest is cross-entropy."""
    temperature: float = Field(1.0, gt=0)
    """Distillation temperature of teacher and student logits."""


class QuantizeParams(Threaded, MeasureParams):
    """Section `quantize` of `params.yaml`."""

    methods: tuple[Method, ...] = Field(METHODS, min_length=1, strict=False)
    """Calibration methods for activation ranges; each gives one candidate.

    Runtimes that keep activations in float need no calibration and use a single method.
    """
    calibration_images: int = Field(256, ge=1)
    """Number of training images used for calibration."""
    percentile: float = Field(99.99, gt=50, le=100)
    """Percentile of activation values that the method `percentile` keeps."""
    mixed: When = "needed"
    """Whether to build an int8 file whose most sensitive layers stay in float.

    `needed`: int8 may be delivered and no method meets the device's `max_accuracy_drop`.
    """
    max_float_share: float = Field(0.5, gt=0, lt=1)
    """Largest share of layers that a mixed file may keep in float."""
    same_speed: float = Field(0.03, ge=0, lt=1)
    """Latencies that differ by at most this share, or by their spread, count as equal.

    The higher precision is then selected; within one precision, the more accurate file.
    """
    limits: PrecisionLimits = PrecisionLimits(
        lower=Limits(difference=1.0, agreement=0.9, accuracy_drop=0.05)
    )
    """Of the float32 file against the trained network, and of lower precisions against the float32
    file: loose, because rounding changes logits more than predictions; it detects other errors."""
    finetune: FinetuneParams = FinetuneParams(
        epochs=0.5, min_steps=100, learning_rate=0.001, weight_decay=0.0, checkpoint_every=100
    )
    """Quantisation-aware fine-tuning."""

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(methods)) != len(methods):
            raise ValueError(f"names a method twice: {', '.join(methods)}")
        return methods
