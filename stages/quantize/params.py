"""Params of the stage `quantize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from devices.calibration import Method
from stages.common.learning import LearningParams
from stages.common.params import Params

When = Literal["needed", "always", "never"]
"""`needed`: where int8 may be delivered and nothing cheaper keeps `max_accuracy_drop`."""


class FinetuneParams(LearningParams):
    """Section `quantize.finetune`: quantisation-aware fine-tuning."""

    when: When = "needed"
    """`needed`: where int8 may be delivered and no form made without it, mixed ones included,
    keeps the device's `max_accuracy_drop`."""
    epochs: float = Field(0.5, gt=0)
    """Passes over the training split; fractions are allowed."""
    batch: int = Field(64, ge=2)
    """Images per step."""
    learning_rate: float = Field(0.001, gt=0)
    """Highest learning rate, reached after the warm-up."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD; 0 for none."""
    weight_decay: float = Field(0.0, ge=0)
    """Of convolutions and fully connected layers; biases have none."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each target spread over all classes."""
    warmup_fraction: float = Field(0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    distill_weight: float = Field(1.0, ge=0, le=1)
    """Share of the float network's own answers in the loss; the rest is cross-entropy."""
    temperature: float = Field(1.0, gt=0)
    """Softens both of them; 1 leaves them as they are."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between two checkpoints."""
    threads: int = Field(1, ge=1)
    """Processor threads; part of the params because floating-point sums depend on it."""
    seed: int = Field(0, ge=0)
    """Of the batches and their augmentation."""


class QuantizeParams(Params):
    """Section `quantize` of `params.yaml`."""

    methods: tuple[Method, ...] = Field(
        ("minmax", "percentile", "entropy"), min_length=1, strict=False
    )
    """How ranges of activations are read from what calibration images show; each is a candidate.

    Runtimes that keep activations in float have nothing to calibrate and know one method only.
    """
    calibration_images: int = Field(256, ge=1)
    """Training images on which the range of every activation is observed."""
    percentile: float = Field(99.99, gt=50, le=100)
    """Share of an activation's values, in per cent, that the method `percentile` keeps."""
    mixed: When = "needed"
    """Whether to build an int8 file whose most sensitive layers stay in float.

    `needed`: where int8 may be delivered and no method keeps the device's `max_accuracy_drop`.
    """
    max_float_share: float = Field(0.5, gt=0, lt=1)
    """Most layers that such a file may keep in float, as a share of them."""
    same_speed: float = Field(0.03, ge=0, lt=1)
    """Latencies that differ by at most this share, or by their spread, count as equal.

    Then the higher precision is kept, and between files of one precision the more accurate.
    """
    max_difference: float = Field(0.001, gt=0)
    """Largest absolute difference of any logit between the trained network and its ONNX file."""
    float32_agreement: float = Field(0.999, ge=0, le=1)
    """Share of test images on which the ONNX file must predict what the trained network does."""
    min_agreement: float = Field(0.9, ge=0, le=1)
    """Share of test images on which a lower precision must predict what float32 does."""
    float32_accuracy_drop: float = Field(0.001, ge=0, le=1)
    """Most top-1 test accuracy the ONNX file may lose against the trained network."""
    lower_difference: float = Field(1.0, gt=0)
    """Largest difference of any logit of a lower precision, as a share of the largest logit.

    Wide, because rounding moves logits without moving answers; it stops what is not rounding.
    """
    lower_accuracy_drop: float = Field(0.05, ge=0, le=1)
    """Most top-1 test accuracy a delivered lower precision may lose; more stops the release.

    It is no budget: the choice keeps `max_accuracy_drop` of the device, on validation images.
    """
    blocks: int = Field(9, ge=1)
    """Interleaved blocks per latency measurement, at least; never fewer than 6."""
    calls: int = Field(20, ge=1)
    """Calls per block, at least."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half of a latency's 95% interval is at most this share of it."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per latency measurement after which no more are added."""
    seed: int = Field(0, ge=0)
    """Seed of the choice of calibration images."""
    finetune: FinetuneParams = FinetuneParams()
    """Quantisation-aware fine-tuning."""

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(methods)) != len(methods):
            raise ValueError(f"names a method twice: {', '.join(methods)}")
        return methods
