"""Params of the stage `quantize`."""

from __future__ import annotations

from pydantic import Field

from stages.common.params import Params


class QuantizeParams(Params):
    """Section `quantize` of `params.yaml`."""

    calibration_images: int = Field(256, ge=1)
    """Training images on which the range of every activation is observed."""
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
    blocks: int = Field(7, ge=3)
    """Interleaved blocks per latency measurement."""
    calls: int = Field(50, ge=1)
    """Calls per block."""
    max_spread: float = Field(0.5, gt=0)
    """A measurement whose blocks differ by more than this share is refused."""
    seed: int = Field(0, ge=0)
    """Seed of the choice of calibration images."""
