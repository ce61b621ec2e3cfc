"""Variants of one network that can be delivered, and their evaluation results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from core.files import rounded
from devices.device import Precision
from devices.measure.interleaved import Measurement
from devices.quantize.result import CandidateResult
from models.nets.equivalence import EquivalenceCheck

FLOAT32: Final = "float32"
NO_METHOD, MIXED = "none", "mixed"


@dataclass(frozen=True)
class Variant:
    """One ONNX file of the network, not yet evaluated.

    Attributes:
        name: its name in files and equivalence checks, such as `int8-entropy`.
        precision: `float32`, `float16` or `int8`.
        method: how its scales were computed: a calibration method, `weights_only`, `mixed`, or
            `qat` after quantisation-aware fine-tuning; `none` without scales.
        source: name of the variant that it is compared with; None for the trained network's own.
            It was also built from that variant, unless it was fine-tuned.
        base_method: the calibration method of a `mixed` or `qat` variant.
        in_float: float layers of a `mixed` variant, the most sensitive first.
    """

    name: str
    precision: Precision
    method: str
    source: str | None
    base_method: str | None = None
    in_float: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """File name of the ONNX model."""
        return f"{self.name}.onnx"


@dataclass(frozen=True)
class Candidate:
    """An evaluated variant.

    Attributes:
        variant: the evaluated file.
        accuracy: top-1 on the test split; reported only, never used for selection.
        val_accuracy: top-1 on the validation split.
        agreement: share of test images with the same prediction as its source.
        latency_ms: measured median per image, None if not measured.
        spread: relative spread of that measurement.
        interval: 95% confidence interval of the latency, milliseconds.
        size_bytes: size of the ONNX file.
        check: equivalence with its source variant.
    """

    variant: Variant
    accuracy: float
    val_accuracy: float
    agreement: float
    latency_ms: float | None
    spread: float | None
    size_bytes: int
    check: EquivalenceCheck
    interval: tuple[float, float] | None = None

    def with_latency(self, found: Measurement) -> Candidate:
        """Return the candidate with its measured latency."""
        return replace(self, latency_ms=found.ms, spread=found.spread, interval=found.interval)

    @property
    def noise(self) -> float:
        """Relative latency uncertainty: the larger of the spread and half the interval."""
        if self.interval is None or self.latency_ms is None:
            return self.spread or 0.0
        low, high = self.interval
        return max(self.spread or 0.0, (high - low) / 2 / self.latency_ms)

    @property
    def precision(self) -> Precision:
        """Precision of its variant."""
        return self.variant.precision

    def result(self, rejected: str | None) -> CandidateResult:
        """Return its entry in `quantize.json`.

        Args:
            rejected: why it cannot be delivered, or None.
        """
        return CandidateResult(
            name=self.variant.name,
            precision=self.precision,
            method=self.variant.method,
            base_method=self.variant.base_method,
            in_float=self.variant.in_float,
            source=self.variant.source,
            file=self.variant.file,
            accuracy=round(self.accuracy, 6),
            val_accuracy=round(self.val_accuracy, 6),
            agreement=round(self.agreement, 6),
            latency_ms=rounded(self.latency_ms),
            spread=rounded(self.spread),
            interval=self.interval and (round(self.interval[0], 6), round(self.interval[1], 6)),
            size_bytes=self.size_bytes,
            rejected=rejected,
        )
