"""Settings of a device of the fleet: runtime, budget and requirements."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from core.settings import Params

Precision = Literal["float32", "float16", "int8"]
CPU = "CPU"
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")

OWN_FIELDS = {
    "compute_capabilities": "tensorrt",
    "dsp_architectures": "qnn",
    "openvino_device": "openvino",
}
"""Fields of `Device` that only one backend reads, with that backend."""
Activations = Literal["uint8", "int8", "int8_asymmetric", "weights_only"]
"""int8 schemes, by the type of the activations."""
WeightBits = Literal[7, 8]


class DeviceError(ValueError):
    """Invalid settings of a device; the message names the setting and the fix."""


class Budget(Params):
    """Limits of the delivered model; at least one."""

    latency_ms: float | None = Field(None, gt=0)
    """Milliseconds per image at batch 1, median, on the device's own runtime."""
    latency_share: float | None = Field(None, gt=0, le=1)
    """Latency limit as a share of the latency of the device's largest network (by
    multiply-accumulates, in the search precision), measured in the same profile; 1 is no limit."""
    flops: int | None = Field(None, gt=0)
    """Multiply-accumulate operations per image (FLOPs in most papers)."""
    parameters: int | None = Field(None, gt=0)
    """Trainable parameters."""
    size_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) of the whole bundle."""
    memory_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) of peak activation memory for one image, in the search precision;
    without weights and the memory of the runtime."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("needs at least one of " + ", ".join(type(self).model_fields))
        return self

    @model_validator(mode="after")
    def _one_latency(self) -> Self:
        if self.latency_ms is not None and self.latency_share is not None:
            raise ValueError("latency_ms and latency_share limit the same latency: remove one")
        return self

    @property
    def latency_key(self) -> str | None:
        """The latency limit that is set, `latency_ms` or `latency_share`; None if neither."""
        keys = ("latency_ms", "latency_share")
        return next((key for key in keys if getattr(self, key) is not None), None)


class ImportedTable(Params):
    """Latencies measured offline; `netwright profile NAME --import` writes this section."""

    file: str = Field(min_length=1)
    """CSV file, relative to the repository root."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the file, so that a changed file is a changed setting."""


class Device(Params):
    """One device: its runtime and the limits of its bundle."""

    backend: str
    """Name in the backend table, such as onnxruntime or tensorrt."""
    budget: Budget
    """Limits of the delivered model."""
    threads: int = Field(1, ge=1)
    """Threads of the runtime on the device."""
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    """`auto` delivers the fastest precision of the backend within `max_accuracy_drop`, or its first
    one, float32 if supported, if latency cannot be measured."""
    allow: tuple[str, ...] = Field((), strict=False)
    """Operators to keep in the search space of an int8 device, such as squeeze_excite, hard_swish
    or split_attention_mbconv; they are excluded by default."""
    min_accuracy: float = Field(ge=0, le=1)
    """Minimum top-1 accuracy of the delivered model on the test split."""
    min_balanced_accuracy: float | None = Field(None, ge=0, le=1)
    """Minimum mean recall of the classes on the test split.

    null: above 1 / (classes that have test images), which a constant answer has.
    """
    min_class_recall: float | None = Field(None, ge=0, le=1)
    """Minimum recall of every class on the test split, a share of its images.

    null: a class with 10 or more test images is recognised at least once.
    """
    max_ece: float | None = Field(None, ge=0, le=1)
    """Maximum expected calibration error on the test split, a share; null: no limit.

    Of the probabilities at the temperature that was fitted on validation images.
    """
    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    """Maximum loss of top-1 accuracy of a lower precision against float32."""
    max_error: float = Field(0.25, gt=0)
    """Maximum mean relative error of the latency model on held-out networks."""
    compute_capabilities: tuple[str, ...] = Field((), strict=False)
    """NVIDIA GPUs to build the engine for, such as SM86, SM89; only for tensorrt."""
    dsp_architectures: tuple[str, ...] = Field((), strict=False)
    """Hexagon DSPs to build context binaries for, such as v73, v75; only for qnn."""
    openvino_device: str = Field(CPU, pattern=r"^(CPU|GPU(\.[0-9]+){0,2}|NPU)$")
    """OpenVINO device, without a fallback: CPU, GPU (GPU.1 is the second), or NPU.

    Only for openvino. GPU and NPU are UNVERIFIED (no hardware available).
    """
    agent: str | None = Field(None, pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")
    """`host:port` of the agent on the device; without it the device is this machine."""
    agent_token_env: str = Field("NETWRIGHT_AGENT_TOKEN", pattern=r"^[A-Z_][A-Z0-9_]*$")
    """Environment variable with the agent's token."""
    agent_patience_s: float = Field(60.0, gt=0)
    """Seconds that the agent may be unreachable, for example during a restart."""
    table: ImportedTable | None = None
    """Latencies measured offline, for a device that cannot be reached."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.agent is not None and self.table is not None:
            raise ValueError("has an agent that measures and an imported table: remove one of them")
        return self
