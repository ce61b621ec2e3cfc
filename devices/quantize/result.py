"""`quantize.json`: all precision candidates of a network, and the one chosen for a device."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.artifact import Artifact, Record
from devices.device import Precision, WeightBits
from models.nets.equivalence import EquivalenceCheck, onnx_name

QAT = "qat"
"""Method of a candidate after quantisation-aware fine-tuning."""


class CandidateResult(Record):
    """A precision candidate; None for what was not measured or does not apply."""

    name: str
    """Its name in files and equivalence checks, such as `int8-entropy`."""
    precision: Precision
    method: str | None = None
    """How its scales were computed; see devices.quantize.candidate.Variant."""
    base_method: str | None = None
    """The calibration method of a mixed or fine-tuned candidate."""
    in_float: tuple[str, ...] = Field((), strict=False)
    """Float layers of a mixed candidate, the most sensitive first."""
    source: str | None = None
    """Name of the candidate that it is compared with; None: the trained network."""
    file: str
    """File name of its ONNX model."""
    accuracy: float
    """Top-1 on the test split; never used for selection."""
    val_accuracy: float
    """Top-1 on the validation split."""
    agreement: float
    """Share of test images with the same prediction as its source."""
    latency_ms: float | None
    """Median milliseconds per image at batch 1."""
    spread: float | None = None
    """Relative spread of that measurement."""
    interval: tuple[float, float] | None = Field(None, strict=False)
    """95% confidence interval of the latency."""
    size_bytes: int
    """Size of the ONNX file."""
    rejected: str | None = None
    """Why it cannot be delivered."""


class Sensitivity(Record):
    """Effect of quantising one layer alone."""

    layer: str
    nats: float
    """Mean KL divergence from the float network's predictions, nats per image."""


class FloatLayers(Record):
    """An evaluated number of layers in float."""

    in_float: int
    val_accuracy: float


class MixedResult(Record):
    """Search for the mixed candidate."""

    sensitivity: tuple[Sensitivity, ...]
    """All layers, the most sensitive first."""
    tried: tuple[FloatLayers, ...]
    """In order of evaluation."""
    kept: bool
    """Whether the candidate meets the accuracy budget."""


class FinetunedResult(Record):
    """Quantisation-aware fine-tuning."""

    file: str
    """The float32 ONNX file of the fine-tuned network; not delivered."""
    accuracy: dict[str, float]
    """Top-1 of the float network, by split."""
    history: tuple[dict[str, Any], ...]
    """Training history; see models.training.history."""


class QuantizeResult(Artifact):
    """Result of the stage `quantize`."""

    SCHEMA = "netwright/quantize/1"
    FILE = "quantize.json"

    precision: Precision = Field(alias="chosen")
    """Precision of the chosen candidate."""
    name: str
    """Its name."""
    file: str
    """Its ONNX file."""
    reason: str
    """Why it was chosen."""
    weight_bits: WeightBits | None
    """Bit width of its int8 weights; None for another precision."""
    candidates: tuple[CandidateResult, ...]
    """Float32 first."""
    mixed: MixedResult | None = None
    finetuned: FinetunedResult | None = None
    checks: tuple[EquivalenceCheck, ...] = Field(alias="hops")
    """The equivalence check of each candidate with its source."""

    def candidate(self, file: str) -> CandidateResult:
        """Return the candidate of an ONNX file."""
        return next(row for row in self.candidates if row.file == file)

    def checks_of_chosen(self) -> tuple[EquivalenceCheck, ...]:
        """Return the checks from the trained network to the chosen candidate, in order."""
        sources = {row.name: row.source for row in self.candidates}
        targets: set[str] = set()
        name: str | None = self.name
        while name is not None:
            targets.add(onnx_name(name))
            name = sources[name]
        return tuple(check for check in self.checks if check.target in targets)
