"""Params of the stage `export`."""

from __future__ import annotations

from pydantic import Field

from core.settings import Params


class ExportParams(Params):
    """Section `export` of `params.yaml`."""

    max_difference: float = Field(0.001, gt=0)
    """Largest absolute logit difference between a float32 ONNX file and the delivered file."""
    float32_agreement: float = Field(0.999, ge=0, le=1)
    """Least share of test images with equal predictions of a float32 file and its ONNX file."""
    min_agreement: float = Field(0.95, ge=0, le=1)
    """The same for lower precisions, where two runtimes round differently."""
    float32_accuracy_drop: float = Field(0.001, ge=0, le=1)
    """Largest top-1 test accuracy drop of a delivered float32 file against its ONNX file."""
    lower_difference: float = Field(0.1, gt=0)
    """Largest logit difference of a lower precision, as a share of the largest logit."""
    lower_accuracy_drop: float = Field(0.05, ge=0, le=1)
    """Largest top-1 test accuracy drop of a lower-precision file against its ONNX file."""
    blocks: int = Field(9, ge=1)
    """Interleaved blocks of the latency measurement, at least; never fewer than 6."""
    calls: int = Field(20, ge=1)
    """Calls per block, at least."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half the 95% interval is at most this share of the latency."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per latency measurement after which no more blocks are added."""
    emulated_images: int = Field(500, ge=1)
    """Test images run when the device's runtime is emulated, which is slow."""
