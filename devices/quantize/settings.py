"""Params of the stage `quantize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from core.settings import Threaded
from devices.quantize.calibration import Method
from models.training.learning import LearningParams

When = Literal["needed", "always", "never"]
"""`needed`: int8 may be delivered and no variant built before meets `max_accuracy_drop`."""


class FinetuneParams(LearningParams):
    """Section `quantize.finetune`: quantisation-aware fine-tuning."""

    when: When = "needed"
    """`needed`: int8 may be delivered and no variant without fine-tuning, mixed ones included,
    meets the device's `max_accuracy_drop`."""
    epochs: float = Field(0.5, gt=0)
    """Passes over the training split; fractions are allowed."""
    batch: int = Field(64, ge=2)
    """Images per step."""
    learning_rate: float = Field(0.001, gt=0)
    """Peak learning rate, reached after the warm-up."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD momentum; 0 disables it."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of convolutions and fully connected layers; biases have none."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each target spread over all classes."""
    warmup_fraction: float = Field(0.1, ge=0, le=1)
    """Share of the steps used for learning-rate warm-up."""
    distill_weight: float = Field(1.0, ge=0, le=1)
    """Weight of self-distillation from the float network; the rest is cross-entropy."""
    temperature: float = Field(1.0, gt=0)
    """Distillation temperature of teacher and student logits."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between two checkpoints."""


class QuantizeParams(Threaded):
    """Section `quantize` of `params.yaml`."""

    methods: tuple[Method, ...] = Field(
        ("minmax", "percentile", "entropy"), min_length=1, strict=False
    )
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
    max_difference: float = Field(0.001, gt=0)
    """Largest absolute logit difference between the trained network and its ONNX file."""
    float32_agreement: float = Field(0.999, ge=0, le=1)
    """Least share of test images with equal predictions of trained network and ONNX file."""
    min_agreement: float = Field(0.9, ge=0, le=1)
    """Least share of test images with equal predictions of a lower precision and float32."""
    float32_accuracy_drop: float = Field(0.001, ge=0, le=1)
    """Largest top-1 test accuracy drop of the ONNX file against the trained network."""
    lower_difference: float = Field(1.0, gt=0)
    """Largest logit difference of a lower precision, as a share of the largest logit.

    Loose, because rounding changes logits more than predictions; it detects other errors.
    """
    lower_accuracy_drop: float = Field(0.05, ge=0, le=1)
    """Largest top-1 test accuracy drop of a delivered lower precision; above it the stage fails.

    Not used for selection, which applies the device's `max_accuracy_drop` on validation images.
    """
    blocks: int = Field(9, ge=1)
    """Interleaved blocks per latency measurement, at least; never fewer than 6."""
    calls: int = Field(20, ge=1)
    """Calls per block, at least."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half the 95% interval is at most this share of the latency."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per latency measurement after which no more blocks are added."""
    finetune: FinetuneParams = FinetuneParams()
    """Quantisation-aware fine-tuning."""

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(methods)) != len(methods):
            raise ValueError(f"names a method twice: {', '.join(methods)}")
        return methods
