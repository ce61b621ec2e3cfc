"""`quantize.json`: all precision candidates of a network, and the one chosen for a device."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, PlainSerializer

from core.artifact import Artifact, Record, Rounded
from core.files import rounded
from devices.device import Precision, WeightBits
from models.nets.equivalence import EquivalenceCheck, onnx_name

FLOAT32: Final = "float32"
NO_METHOD, MIXED, QAT = "none", "mixed", "qat"
"""Methods besides those of calibration: no scales, mixed precision, and calibration after
quantisation-aware fine-tuning."""
RoundedFloat = Annotated[float, PlainSerializer(rounded, return_type=float)]
"""A measured number that is rounded in a file."""


class Variant(Record):
    """One ONNX file of the network."""

    name: str
    """Its name in files and equivalence checks, such as `int8-entropy`."""
    precision: Precision
    method: str | None = None
    """How its scales were computed: a calibration method, `weights_only`, `mixed`, `qat` or
    `none`."""
    source: str | None = None
    """Name of the variant that it is compared with; None: the trained network. It was also built
    from that variant, unless it was fine-tuned."""
    base_method: str | None = None
    """The calibration method of a mixed or fine-tuned variant."""
    in_float: tuple[str, ...] = Field((), strict=False)
    """Float layers of a mixed variant, the most sensitive first."""
    file: str = Field(default_factory=lambda values: f"{values['name']}.onnx")
    """File name of its ONNX model."""


class Candidate(Variant):
    """An evaluated variant; None for what was not measured."""

    accuracy: RoundedFloat
    """Top-1 on the test split; never used for selection."""
    val_accuracy: RoundedFloat
    """Top-1 on the validation split."""
    balanced_accuracy: Rounded = None
    """Mean recall of the classes on the test split; never used for selection."""
    min_class_recall: Rounded = None
    """Smallest recall of a class on the test split; never used for selection."""
    agreement: RoundedFloat
    """Share of test images with the same prediction as its source."""
    latency_ms: Rounded = None
    """Median milliseconds per image at batch 1."""
    spread: Rounded = None
    """Relative spread of that measurement."""
    interval: tuple[RoundedFloat, RoundedFloat] | None = Field(None, strict=False)
    """95% confidence interval of the latency."""
    size_bytes: int
    """Size of the ONNX file."""
    rejected: str | None = None
    """Why it cannot be delivered."""

    @property
    def ms(self) -> float:
        """The latency of a measured candidate."""
        assert self.latency_ms is not None  # callers handle unmeasured devices
        return self.latency_ms

    @property
    def noise(self) -> float:
        """Relative latency uncertainty: the larger of the spread and half the interval."""
        if self.interval is None or self.latency_ms is None:
            return self.spread or 0.0
        low, high = self.interval
        return max(self.spread or 0.0, (high - low) / 2 / self.latency_ms)


class Sensitivity(Record):
    """Effect of quantising one layer alone."""

    layer: str
    nats: float
    """Mean KL divergence from the float network's predictions, nats per image."""


class FloatLayers(Record):
    """An evaluated number of layers in float."""

    in_float: int
    val_accuracy: RoundedFloat


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
    accuracy: dict[str, RoundedFloat]
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
    candidates: tuple[Candidate, ...]
    """Float32 first."""
    mixed: MixedResult | None = None
    finetuned: FinetunedResult | None = None
    checks: tuple[EquivalenceCheck, ...] = Field(alias="hops")
    """The equivalence check of each candidate with its source."""

    def candidate(self, file: str) -> Candidate:
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
