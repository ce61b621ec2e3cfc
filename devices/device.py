"""A device of the fleet as its owner describes it: runtime, budget and what must hold."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["float32", "float16", "int8"]
CPU = "CPU"
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")

TARGETS = {"compute_capabilities": "tensorrt", "dsp_architectures": "qnn"}
"""Fields of `Device` that name generations of hardware, each with the only backend it is for."""


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
    latency_share: float | None = Field(None, gt=0, le=1)
    """The same limit as a share of the latency of the device's largest network (by
    multiply-accumulates, in the precision searched in), measured in the same profile.

    It binds alike on every machine; with 1 it binds nowhere.
    """
    flops: int | None = Field(None, gt=0)
    """Multiply-accumulate operations per image (what the papers call FLOPs)."""
    parameters: int | None = Field(None, gt=0)
    """Trainable numbers."""
    size_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) of the whole bundle."""
    memory_mb: float | None = Field(None, gt=0)
    """Megabytes (10^6 bytes) of activations alive at once for one image, in the precision searched
    in; weights and the runtime's own memory come on top."""

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
        """The setting that limits latency, `latency_ms` or `latency_share`; None without one."""
        keys = ("latency_ms", "latency_share")
        return next((key for key in keys if getattr(self, key) is not None), None)


class ImportedTable(_Strict):
    """Latencies that somebody measured elsewhere; `netwright profile NAME --import` writes it."""

    file: str = Field(min_length=1)
    """CSV file, from the repository's root."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file, so that another content is another setting."""


class Device(_Strict):
    """One device: its runtime and the limits its bundle must keep."""

    backend: str
    """Name in the backend table, such as onnxruntime or tensorrt."""
    budget: Budget
    """Limits the delivered model must keep."""
    threads: int = Field(1, ge=1)
    """Threads the runtime may use on the device."""
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    """`auto` delivers what is fastest within the accuracy budget, of what the backend offers.

    Where the device cannot be measured here, that is the backend's first precision, float32
    wherever it is offered: nobody knows what is faster.
    """
    allow: tuple[str, ...] = Field((), strict=False)
    """What a device that runs int8 is searched with all the same, such as squeeze_excite,
    hard_swish or split_attention_mbconv; without it they are left out of its search space."""
    min_accuracy: float = Field(ge=0, le=1)
    """Top-1 accuracy on the test split that the delivered model must reach."""
    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    """How much top-1 accuracy a lower precision may lose against float32."""
    max_error: float = Field(0.25, gt=0)
    """Largest mean relative error of the latency model on networks it has not seen."""
    compute_capabilities: tuple[str, ...] = Field((), strict=False)
    """NVIDIA GPUs an engine is built for, such as SM86, SM89; only for tensorrt."""
    dsp_architectures: tuple[str, ...] = Field((), strict=False)
    """Hexagon DSPs a context binary each is built for, such as v73, v75; only for qnn."""
    openvino_device: str = Field(CPU, pattern=r"^(CPU|GPU(\.[0-9]+){0,2}|NPU)$")
    """OpenVINO's name of what it runs on: CPU, GPU (GPU.1 the second), or NPU; exactly that.

    Only for openvino. GPU and NPU are UNVERIFIED: none was there when this was written.
    """
    agent: str | None = Field(None, pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")
    """`host:port` of the agent that runs on the device; without it the device is this machine."""
    agent_token_env: str = Field("NETWRIGHT_AGENT_TOKEN", pattern=r"^[A-Z_][A-Z0-9_]*$")
    """Environment variable that holds the agent's token; the token itself stands in no file."""
    agent_patience_s: float = Field(60.0, gt=0)
    """Seconds the agent may be away, because it restarts for example, before a stage gives up."""
    table: ImportedTable | None = None
    """Latencies measured elsewhere, for a device that nothing here can reach."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.agent is not None and self.table is not None:
            raise ValueError("has an agent that measures and an imported table: remove one of them")
        return self
