"""`manifest.json`: description of a bundle, with a closed schema.

Its hashes detect damage and simple edits; against deliberate forgery compare the archive's SHA-256
with the one in `release.json`, or sign.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from bundles.archive import Archive, BundleError
from core.artifact import Record
from devices.device import Device, Precision
from devices.quantize.result import Candidate
from models.nets.equivalence import EquivalenceCheck
from models.quality.record import QualitySummary

MANIFEST, CARD, SBOM = "manifest.json", "MODEL_CARD.md", "sbom.cdx.json"
SCHEMA = "netwright/bundle/1"
DERIVED = {MANIFEST, CARD, SBOM, "schema", "digest", "files", "reproducible_sha256"}
"""Fields and files derived from the others."""

PRIVATE = {"agent", "agent_token_env", "agent_patience_s", "table"}
"""Device fields that a bundle excludes: the device's address is private, and an untrusted bundle
must never name a host to connect to."""

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(Record):
    """The delivered network's files."""

    runtime: str
    runtime_version: str
    """Version that the files were built and verified with."""
    entry: str
    """The file that the runtime opens."""
    files: tuple[str, ...] = Field(min_length=1, strict=False)
    portable: str
    """The same network as an ONNX file."""
    not_reproducible: tuple[str, ...] = Field(strict=False)
    """Files whose bytes differ between builds and cannot be compared."""
    built_from: str
    """The `file` of the candidate that all of them were built from."""
    built_from_sha256: Sha256
    """SHA-256 of that ONNX file; stands for the files in `not_reproducible`."""
    details: dict[str, Any]
    """Details from the backend: inputs, outputs, how to rebuild."""
    weight_bits: Literal[7, 8] | None = None
    """Bit width of int8 weights: 7 if the processor's int8 kernels saturate at 8."""
    measured_on: Processor | None = None
    """None if the file could not run on the build machine."""


class Processor(Record):
    """Processor on which the delivered file was measured."""

    processor: str
    system: str
    """Operating system and architecture."""
    features: tuple[str, ...] | None = Field(None, strict=False)
    """Instruction sets that select kernels; None if the system does not report them."""


class Accuracy(Record):
    """Top-1 accuracy on the test split; None without a candidate of this precision."""

    float32: Share
    int8: Share | None
    delivered: Share


class MeasuredAccuracy(Accuracy):
    """Accuracy, and how it was measured."""

    measured_on: str
    """The file and runtime that `delivered` was measured with."""


class Reference(Record):
    """The network that the device's latencies are normalised to; see devices.measure.reference."""

    architecture: dict[str, Any]
    """Architecture of the reference network; its weights are random."""
    ms: Milliseconds
    """Its latency per image in the device's profile."""
    machine: dict[str, Any]
    """Machine fingerprint of that measurement; see devices.measure.fingerprint."""


class Latency(Record):
    """Median milliseconds per image at batch 1; None if not predicted or measured."""

    predicted: Milliseconds | None
    measured: Milliseconds | None
    interval: tuple[Milliseconds, Milliseconds] | None = Field(None, strict=False)
    """95% confidence interval of `measured`."""
    budget: Milliseconds | None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The budget as a share of the largest network's latency, if specified so."""


class MeasuredLatency(Latency):
    """Latency, and how it was measured."""

    reference: Reference | None = None
    why_not_measured: str | None


class Costs(Record):
    """Costs determined by the architecture."""

    flops: int = Field(ge=0)
    """Multiply-accumulate operations per image."""
    parameters: int = Field(ge=0)
    memory_mb: float | None = Field(None, gt=0)
    """Peak activation memory in MB, in the delivered precision; None without a budget."""


class LedgerEntry(Record):
    """A prediction and its measurement; None if not predicted or not measured."""

    what: str
    unit: str
    predicted: float | None
    predicted_by: str
    measured: float | None
    measured_by: str
    error: float | None
    """Predicted / measured - 1."""
    expected_error: float | None
    """Mean relative error of that predictor on held-out networks."""


class GoldenOutputs(Record):
    """Real inputs with expected outputs."""

    images: int = Field(ge=1)
    tolerance: float = Field(gt=0)
    """Largest absolute difference of any logit."""
    computed_by: str
    """Runtime that computed the outputs."""


class Provenance(Record):
    """Inputs that the bundle was built from."""

    params_sha256: Sha256
    """SHA-256 of the params sections read by this stage, as canonical JSON."""
    dataset: str
    dataset_sha256: Sha256
    """SHA-256 of `dataset.json`, which lists the arrays' hashes."""
    inputs: dict[str, Sha256]
    """SHA-256 of the stages' results, by file name."""


class Content(Record):
    """All fields that are not derived from the bundle's files."""

    name: str
    """The device's name."""
    device: Device
    architecture: dict[str, Any]
    architecture_id: str
    architecture_short: str
    precision: Precision
    model: Model
    accuracy: MeasuredAccuracy
    quality: QualitySummary | None = None
    """Summary of `quality.json`; None in a bundle of before it was recorded."""
    latency_ms: MeasuredLatency
    costs: Costs
    candidates: tuple[Candidate, ...] = Field(strict=False)
    """All precision candidates, as evaluated by the stage `quantize`."""
    choice: str
    """Why this candidate was delivered."""
    ledger: tuple[LedgerEntry, ...] = Field(strict=False)
    checks: tuple[EquivalenceCheck, ...] = Field(alias="hops", strict=False)
    """Equivalence checks from the supernet to the delivered file."""
    golden: GoldenOutputs
    provenance: Provenance
    versions: dict[str, str]
    """Versions of the packages that built the bundle."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the device's private fields."""
        return self.model_dump(mode="json", by_alias=True, exclude={"device": PRIVATE})


class Manifest(Content):
    """The whole manifest."""

    schema_: Literal["netwright/bundle/1"] = Field(alias="schema")
    reproducible_sha256: Sha256
    """Equal for all bundles with equal inputs, even if engine bytes differ."""
    files: dict[str, Sha256]
    """SHA-256 of every other file."""
    digest: Sha256
    """SHA-256 of this manifest without this field, as canonical JSON."""


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """Serialise the manifest, given without schema and digest, as JSON values."""
    whole = {"schema": SCHEMA, **content}
    whole["digest"] = _digest(whole)
    return (json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_manifest(archive: Archive) -> Manifest:
    """Read the manifest of a bundle.

    Raises:
        BundleError: it is missing, malformed, edited, or has another schema.
    """
    path, content = archive.path, archive.read_json(MANIFEST)
    if content.get("schema") != SCHEMA:
        raise BundleError(
            f"{path}: its manifest has schema {content.get('schema')!r}; this version reads "
            f"{SCHEMA!r}."
        )
    if content.get("digest") != _digest(content):
        raise BundleError(f"{path}: its manifest was changed after it was written.")
    manifest = archive.read_record(MANIFEST, Manifest)
    named = {*manifest.model.files, manifest.model.entry, manifest.model.portable}
    if unknown := named - set(manifest.files):
        raise BundleError(
            f"{path}: its manifest names model files that are not in its file list: "
            f"{', '.join(sorted(unknown))}."
        )
    return manifest


def reproducible_sha256(content: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Return a hash that is equal for bundles with equal inputs, even if engine bytes differ.

    Fields and files in `DERIVED` are ignored.
    """
    odd = set(content["model"]["not_reproducible"])
    built_from = content["model"]["built_from_sha256"]
    hashes = {
        name: f"built from {built_from}" if name in odd else hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if name not in DERIVED
    }
    plain = {key: value for key, value in content.items() if key not in DERIVED}
    return hashlib.sha256(_canonical([plain, hashes])).hexdigest()


def accuracy_of(precision: str, candidates: Sequence[Candidate], built_from: str) -> float | None:
    """Return test-split top-1 of a precision; None if it has no candidate.

    That of the delivered candidate (`built_from`), or else of the best one by validation accuracy.
    """
    rows = [row for row in candidates if row.precision == precision]
    best = max(rows, key=lambda row: (row.file == built_from, row.val_accuracy), default=None)
    return None if best is None else best.accuracy


def relative_error(predicted: float | None, measured: float | None) -> float | None:
    """Return the relative error of a prediction: 0.1 is 10% too high; None if not known."""
    return round(predicted / measured - 1, 6) if predicted is not None and measured else None


def _digest(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(_canonical(rest)).hexdigest()


def _canonical(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
