"""`manifest.json`: what a bundle says of itself, closed to everything else.

Its last line of defence is `digest`, a hash over all its other fields. Hashes show damage and
careless edits; against a forger compare the archive's SHA-256 with the one in `release.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices.device import Device, Precision
from stages.bundle.errors import BundleError

MANIFEST, CARD, SBOM = "manifest.json", "MODEL_CARD.md", "sbom.cdx.json"
SCHEMA = "netwright/bundle/1"
MAX_BYTES = 1 << 24
DERIVED = {MANIFEST, CARD, SBOM, "schema", "digest", "files", "reproducible_sha256"}
"""Fields and files that are made from the others."""

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Model(_Part):
    """The delivered network's files."""

    runtime: str
    """The device's runtime, as people write it."""
    runtime_version: str
    """The version the files were built and checked with."""
    entry: str
    """The file that the runtime opens."""
    files: tuple[str, ...] = Field(min_length=1, strict=False)
    """All files of the delivered form."""
    portable: str
    """The same network as ONNX, for any machine."""
    not_reproducible: tuple[str, ...] = Field(strict=False)
    """Files whose bytes differ from one build to the next: build, do not compare, them."""
    built_from: str
    """The `file` of the candidate that all of them were built from."""
    built_from_sha256: Sha256
    """Of that ONNX file, by which such files are known."""
    details: dict[str, Any]
    """What the backend says of its files: inputs, outputs, how to rebuild."""
    weight_bits: Literal[7, 8] | None = None
    """Of an int8 file's weights: 7 where a processor's int8 kernels saturate at 8."""
    measured_on: Processor | None = None
    """None where the file does not run where the bundle was made."""


class Processor(_Part):
    """What the delivered file was run on when its numbers were measured."""

    processor: str
    """Its name."""
    system: str
    """Operating system and architecture."""
    features: tuple[str, ...] | None = Field(None, strict=False)
    """Instructions that decide between kernels; None where the system does not say."""


class Accuracy(_Part):
    """Top-1 shares on the test split."""

    float32: Share
    int8: Share | None
    delivered: Share
    measured_on: str
    """What ran when `delivered` was measured."""


class Reference(_Part):
    """The network that the device's latencies are normalised to; see stages.common.clock."""

    architecture: dict[str, Any]
    """That network; its weights are random."""
    ms: Milliseconds
    """What it took per image in the device's profile."""
    machine: dict[str, Any]
    """What that was measured on: the fingerprint of devices.fingerprint."""


class Latency(_Part):
    """Milliseconds per image at batch 1, median; None for what was not measured."""

    predicted: Milliseconds | None
    measured: Milliseconds | None
    interval: tuple[Milliseconds, Milliseconds] | None = Field(None, strict=False)
    """95% confidence interval of `measured`."""
    budget: Milliseconds | None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The budget as a share of the latency of the device's largest network, if so it was given."""
    reference: Reference | None = None
    why_not_measured: str | None


class Costs(_Part):
    """What the network costs by its shape."""

    flops: int = Field(ge=0)
    """Multiply-accumulate operations per image."""
    parameters: int = Field(ge=0)
    """Trainable numbers."""
    memory_mb: float | None = Field(None, gt=0)
    """Megabytes of activations alive at once, in the delivered precision; None without a budget."""


class LedgerEntry(_Part):
    """A prediction beside its measurement; None for what nobody predicted or measured."""

    what: str
    unit: str
    predicted: float | None
    predicted_by: str
    measured: float | None
    measured_by: str
    error: float | None
    """Predicted / measured - 1."""
    expected_error: float | None
    """Mean relative error of that predictor on networks it had not seen."""


class HopLimits(_Part):
    """What a hop may cost."""

    max_difference: Annotated[float, Field(ge=0)] | None
    agreement: Share
    accuracy_drop: Share


class Hop(_Part):
    """One step of the identity chain; None for what was not measured."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    max_difference: Annotated[float, Field(ge=0)] | None
    """Largest difference of any logit."""
    agreement: Share | None
    """Share of images with the same answer."""
    accuracy: Share | None
    """Top-1 of the target on these images."""
    accuracy_before: Share | None
    """Top-1 of the source on them."""
    images: int = Field(ge=0)
    """Real images on which the two were compared."""
    limit: HopLimits
    passed: bool | None
    why_not_measured: str | None


class Golden(_Part):
    """Real inputs with the outputs they must give."""

    images: int = Field(ge=1)
    tolerance: float = Field(gt=0)
    """Largest absolute difference of any logit."""
    computed_by: str
    """What computed the outputs."""


class Provenance(_Part):
    """What the bundle was made from."""

    params_sha256: Sha256
    """Of the sections that this stage reads, as canonical JSON."""
    dataset: str
    dataset_sha256: Sha256
    """Of `dataset.json`, which lists the arrays' own hashes."""
    inputs: dict[str, Sha256]
    """The stages' results that it was made from."""


class Manifest(_Part):
    """The whole manifest."""

    schema_: Literal["netwright/bundle/1"] = Field(alias="schema")
    name: str
    """The device's name."""
    device: Device
    architecture: dict[str, Any]
    architecture_id: str
    architecture_short: str
    precision: Precision
    model: Model
    accuracy: Accuracy
    latency_ms: Latency
    costs: Costs
    candidates: tuple[dict[str, Any], ...] = Field(strict=False)
    """Every form that was built, as the stage `quantize` judged it."""
    choice: str
    """Why this form was delivered."""
    ledger: tuple[LedgerEntry, ...] = Field(strict=False)
    """What was predicted, beside what was measured."""
    hops: tuple[Hop, ...] = Field(strict=False)
    """The identity chain, from the supernet to the delivered file."""
    golden: Golden
    provenance: Provenance
    versions: dict[str, str]
    """Packages that made the bundle."""
    reproducible_sha256: Sha256
    """The same for all bundles of equal inputs, whose engines may have other bytes."""
    files: dict[str, Sha256]
    """SHA-256 of every other file."""
    digest: Sha256
    """SHA-256 of this manifest without this field, as canonical JSON."""


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """The manifest's file, with schema and digest added.

    Args:
        content: all fields of `Manifest` but those two, as JSON values.
    """
    whole = {"schema": SCHEMA, **content}
    whole["digest"] = _digest(whole)
    return (json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_manifest(path: Path, files: Mapping[str, bytes]) -> Manifest:
    """The manifest among a bundle's files.

    Args:
        path: the bundle, for messages.
        files: its files' bytes by name.

    Raises:
        BundleError: it is missing, of another schema, malformed, or was edited.
    """
    content = parse_json(path, MANIFEST, files)
    if content.get("schema") != SCHEMA:
        raise BundleError(
            f"{path}: its manifest has schema {content.get('schema')!r}; this version reads "
            f"{SCHEMA!r}."
        )
    if content.get("digest") != _digest(content):
        raise BundleError(f"{path}: its manifest was changed after it was written.")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise BundleError(
            f"{path}: its manifest is malformed at '{key}': {first['msg']}."
        ) from error
    named = {*manifest.model.files, manifest.model.entry, manifest.model.portable}
    if not named <= set(manifest.files):
        unknown = ", ".join(sorted(named - set(manifest.files)))
        raise BundleError(
            f"{path}: its manifest names model files that it does not list: {unknown}."
        )
    return manifest


def reproducible_sha256(content: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """A hash that bundles of equal inputs share, also where their engines differ.

    Args:
        content: all fields of `Manifest` but those in `DERIVED`, as JSON values.
        files: the bundle's files by name; those in `DERIVED` count for nothing.
    """
    odd = set(content["model"]["not_reproducible"])
    built_from = content["model"]["built_from_sha256"]
    hashes = {
        name: f"built from {built_from}" if name in odd else hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if name not in DERIVED
    }
    plain = {key: value for key, value in content.items() if key not in DERIVED}
    text = json.dumps([plain, hashes], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def accuracy_of(
    precision: str, candidates: Sequence[Mapping[str, Any]], built_from: str
) -> float | None:
    """Top-1 of a precision on the test split: of the delivered form, or else of the best one.

    Best on the validation split: the test split chooses nothing.

    Args:
        precision: such as `int8`.
        candidates: as the stage `quantize` judged them.
        built_from: file of the delivered form.

    Returns:
        None if there is no such candidate.
    """
    rows = [row for row in candidates if row["precision"] == precision]
    if not rows:
        return None
    best = max(rows, key=lambda row: (row["file"] == built_from, row["val_accuracy"]))
    return float(best["accuracy"])


def relative_error(predicted: float, measured: float) -> float:
    """How far a prediction was off: 0.1 is a tenth too high."""
    return round(predicted / measured - 1, 6)


def parse_json(path: Path, name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """One of a bundle's JSON files, which must hold an object.

    Raises:
        BundleError: it is missing, too large, or no JSON object.
    """
    if name not in files:
        raise BundleError(f"{path} has no {name}; it is no bundle of Netwright's.")
    if len(files[name]) > MAX_BYTES:
        raise BundleError(f"{path}: {name} is larger than the {MAX_BYTES} bytes allowed.")
    try:
        content = json.loads(files[name], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {name} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: {name} is not a JSON object.")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _digest(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
