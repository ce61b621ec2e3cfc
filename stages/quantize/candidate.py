"""What one network can be delivered as: its forms, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from devices.measure import Measurement
from stages.common.files import rounded
from stages.common.hops import Hop

FLOAT32 = "float32"
NO_METHOD, MIXED, QAT = "none", "mixed", "qat"


@dataclass(frozen=True)
class Form:
    """One ONNX file of the network, before anything is known of it.

    Attributes:
        name: what the file and the identity chain call it, such as `int8-entropy`.
        precision: `float32`, `float16` or `int8`.
        method: how its scales were found: a calibration method, `weights_only`, `mixed`, or
            `qat` where the network was fine-tuned for them; `none` where nothing has scales.
        source: name of the form that it is compared with; None for the trained network's own.
            It was made from that form too, but where it was fine-tuned.
        base_method: the calibration method of a `mixed` or `qat` form.
        in_float: layers of a `mixed` form that stay in float, the most sensitive first.
    """

    name: str
    precision: str
    method: str
    source: str | None
    base_method: str | None = None
    in_float: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of its ONNX file."""
        return f"{self.name}.onnx"


@dataclass(frozen=True)
class Candidate:
    """One form, judged.

    Attributes:
        form: the file.
        accuracy: top-1 on the test split; only reported, never used to choose.
        val_accuracy: top-1 on the validation split.
        agreement: share of test images on which it predicts what its source does.
        latency_ms: measured median per image, None where nobody measured it.
        spread: relative spread of that measurement.
        interval: its 95% confidence interval, milliseconds.
        size_bytes: size of the ONNX file.
        hop: how it compares with the form it was made from.
    """

    form: Form
    accuracy: float
    val_accuracy: float
    agreement: float
    latency_ms: float | None
    spread: float | None
    size_bytes: int
    hop: Hop
    interval: tuple[float, float] | None = None

    def timed(self, found: Measurement) -> Candidate:
        """The candidate with its measured latency."""
        return replace(self, latency_ms=found.ms, spread=found.spread, interval=found.interval)

    @property
    def noise(self) -> float:
        """Share of its latency by which that may be off: its spread, or half its interval."""
        if self.interval is None or self.latency_ms is None:
            return self.spread or 0.0
        low, high = self.interval
        return max(self.spread or 0.0, (high - low) / 2 / self.latency_ms)

    @property
    def precision(self) -> str:
        """Of its form."""
        return self.form.precision

    def to_json(self, rejected: str | None) -> dict[str, Any]:
        """Plain values for `quantize.json`.

        Args:
            rejected: why it cannot be delivered, or None.
        """
        return {
            "name": self.form.name,
            "precision": self.precision,
            "method": self.form.method,
            "base_method": self.form.base_method,
            "in_float": list(self.form.in_float),
            "source": self.form.source,
            "file": self.form.file,
            "accuracy": rounded(self.accuracy),
            "val_accuracy": rounded(self.val_accuracy),
            "agreement": rounded(self.agreement),
            "latency_ms": rounded(self.latency_ms),
            "spread": rounded(self.spread),
            "interval": self.interval and [rounded(ms) for ms in self.interval],
            "size_bytes": self.size_bytes,
            "rejected": rejected,
        }
