"""A device of the fleet as its owner describes it: runtime, budget and what must hold."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["float32", "float16", "int8"]
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")


class DeviceError(ValueError):
    """A device's settings that cannot work; the message names the setting and the way out."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Budget(_Strict):
    """Limits the delivered model must keep; at least one."""

    latency_ms: float | None = Field(None, gt=0)
    """Milliseconds per image at batch 1, median, on the device's own runtime."""
    flops: int | None = Field(None, gt=0)
    """Multiply-accumulate operations per image (what the papers call FLOPs)."""
    parameters: int | None = Field(None, gt=0)
    """Trainable numbers."""
    size_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) of the whole bundle."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("needs at least one of latency_ms, flops, parameters, size_mb")
        return self


class Device(_Strict):
    """One device: its runtime and the limits its bundle must keep."""

    backend: str
    """Name in the backend table: onnxruntime, openvino, tensorrt."""
    budget: Budget
    """Limits the delivered model must keep."""
    threads: int = Field(1, ge=1)
    """Threads the runtime may use on the device."""
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    """`auto` delivers what is fastest within the accuracy budget, of what the backend offers.

    Where the device cannot be measured here, that is float32: nobody knows what is faster.
    """
    min_accuracy: float = Field(ge=0, le=1)
    """Top-1 accuracy on the test split that the delivered model must reach."""
    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    """How much top-1 accuracy a lower precision may lose against float32."""
    max_error: float = Field(0.25, gt=0)
    """Largest mean relative error of the latency model on networks it has not seen."""
    compute_capabilities: tuple[str, ...] = Field((), strict=False)
    """NVIDIA GPUs an engine is built for, such as SM86, SM89; only for tensorrt."""
