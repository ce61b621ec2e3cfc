"""How latencies are measured, and the section `export` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from core.settings import Params
from devices.measure.interleaved import Protocol
from models.nets.equivalence import Limits, PrecisionLimits


class MeasureParams(Params):
    """How latencies are measured."""

    blocks: int = Field(9, ge=1)
    """Interleaved blocks of calls per latency, at least; never fewer than 6."""
    calls: int = Field(20, ge=1)
    """Calls per block, at least; fast models use more."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half of a latency's 95% interval is at most this share of it."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per latency after which no more blocks are added."""

    @property
    def protocol(self) -> Protocol:
        """The settings as the worker and the agent read them."""
        return Protocol(self.blocks, self.calls, self.max_interval, self.time_limit_s)


class ExportParams(MeasureParams):
    """How the delivered file is compared with its ONNX file, and measured."""

    limits: PrecisionLimits = PrecisionLimits(
        lower=Limits(difference=0.1, agreement=0.95, accuracy_drop=0.05)
    )
    """Of the delivered file against its ONNX file; below float32 two runtimes round differently."""
    emulated_images: int = Field(500, ge=1)
    """Test images run when the device's runtime is emulated, which is slow."""
