"""Check that redundant fields of a bundle agree.

This detects an edit in one place with recomputed hashes. It does not detect a consistent rewrite
of all places; signatures do. No network is loaded, and torch is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator

from bundles.archive import MALFORMED
from bundles.build.sbom import listed_hashes, serial_number
from bundles.golden import LABELS, PREPROCESS, Preprocess, read_labels
from bundles.manifest import (
    CARD,
    MANIFEST,
    SBOM,
    Manifest,
    accuracy_of,
    relative_error,
    reproducible_sha256,
)
from bundles.quality import FILE as QUALITY
from bundles.quality import find_contradictions as quality_contradictions
from bundles.quality import read_quality
from bundles.read import Bundle
from devices.device import NAME
from models.space.architecture import Architecture


def find_contradictions(bundle: Bundle) -> list[str]:
    """Return all contradictions within a bundle with valid hashes, one phrase each.

    Raises:
        BundleError: one of the files is malformed.
    """
    manifest = bundle.manifest
    return [
        *_network(bundle),
        *_limits(manifest),
        *_numbers(manifest),
        *_checks(manifest),
        *_quality(bundle),
        *_derived(bundle),
    ]


def _network(bundle: Bundle) -> Iterator[str]:
    manifest = bundle.manifest
    try:
        architecture = Architecture.from_json(manifest.architecture)
        found = architecture.id, architecture.short()
        shape, classes = architecture.image_shape, architecture.classes
    except MALFORMED as error:
        yield f"its architecture is malformed ({error})"
        return
    if found != (manifest.architecture_id, manifest.architecture_short):
        yield f"its architecture has id {found[0]}, not {manifest.architecture_id} as stated"
    if shape != bundle.read_record(PREPROCESS, Preprocess).image_shape:
        yield f"its network has input shape {shape}, and {PREPROCESS} has another"
    labels = read_labels(bundle)
    if len(set(labels)) != len(labels):
        yield f"{LABELS} contains a class twice"
    if classes != len(labels):
        yield f"its network has {classes} classes, and {LABELS} has {len(labels)}"


def _limits(manifest: Manifest) -> Iterator[str]:
    latency, device = manifest.latency_ms, manifest.device
    if NAME.fullmatch(manifest.name) is None:
        yield f"{manifest.name!a} is not a valid device name"
    if latency.budget != device.budget.latency_ms:
        yield "it has two different latency budgets"
    if device.budget.latency_share not in (None, latency.share):
        yield "it has two different latency shares"
    low, high = latency.interval or (latency.measured, latency.measured)
    if latency.measured is None:
        if latency.interval is not None or latency.reference is not None:
            yield "latency was not measured, but has an interval or a reference"
    elif not (low is not None and high is not None and low <= latency.measured <= high):
        yield "the measured latency is outside its interval"
    if device.precision not in ("auto", manifest.precision):
        yield f"the device requests {device.precision}, but the model is {manifest.precision}"
    if (latency.measured is None) != (latency.why_not_measured is not None):
        yield "latency needs either a measurement or a reason why it was not measured"
    unknown = {manifest.model.entry, *manifest.model.not_reproducible} - {*manifest.model.files}
    if unknown:
        yield f"it names model files that it does not contain: {', '.join(sorted(unknown))}"


def _numbers(manifest: Manifest) -> Iterator[str]:
    accuracy, latency = manifest.accuracy, manifest.latency_ms
    built_from = manifest.model.built_from
    files = {row.file: row.precision for row in manifest.candidates}
    if files.get(built_from) != manifest.precision:
        yield f"the delivered {manifest.precision} model {built_from!a} is not a candidate"
    for precision, found in (("float32", accuracy.float32), ("int8", accuracy.int8)):
        if found != accuracy_of(precision, manifest.candidates, built_from):
            yield f"it has two different accuracies in {precision}"
    first = next(iter(manifest.ledger), None)
    if first is None or (first.predicted, first.measured) != (latency.predicted, latency.measured):
        yield "its ledger has another latency"
    for entry in manifest.ledger:
        if entry.error != relative_error(entry.predicted, entry.measured):
            yield f"its ledger has a wrong error for the {entry.what}"


def _checks(manifest: Manifest) -> Iterator[str]:
    if not manifest.checks:
        return  # reported by the check `hops`
    first, last = manifest.checks[0], manifest.checks[-1]
    ends = f"delivered file in {manifest.model.runtime}"  # local, or on a named device
    if first.source != "supernet slice" or not last.target.startswith(ends):
        yield f"its equivalence checks run from {first.source} to {last.target}"
    if manifest.latency_ms.measured is not None and last.accuracy != manifest.accuracy.delivered:
        yield "the last equivalence check and the manifest have different delivered accuracies"


def _quality(bundle: Bundle) -> Iterator[str]:
    manifest, quality = bundle.manifest, read_quality(bundle)
    if quality is None or manifest.quality is None:
        if (quality is None) != (manifest.quality is None):
            yield f"only one of its manifest and {QUALITY} has metrics"
        return
    phrases = [*quality_contradictions(quality)]
    if tuple(row.label for row in quality.classes) != read_labels(bundle):
        phrases.append(f"it and {LABELS} have different classes")
    elif not phrases and quality.summary() != manifest.quality:
        phrases.append("it and the manifest have different metrics")
    if quality.accuracy != manifest.accuracy.delivered:
        phrases.append("it and the manifest have different delivered accuracies")
    yield from (f"{QUALITY}: {phrase}" for phrase in phrases)


def _derived(bundle: Bundle) -> Iterator[str]:
    manifest, files = bundle.manifest, bundle.files
    expected = reproducible_sha256(bundle.read_json(MANIFEST), files)
    if manifest.reproducible_sha256 != expected:
        yield "its reproducible SHA-256 does not match its content"
    if f"`{expected[:16]}`".encode() not in files.get(CARD, b""):
        yield f"{CARD} belongs to another bundle"
    listed = {n: h for n, h in manifest.files.items() if n != SBOM}
    try:
        whole = bundle.read_json(SBOM)
        if listed_hashes(whole) != listed or whole["serialNumber"] != serial_number(whole):
            yield f"{SBOM} belongs to another bundle"
    except MALFORMED as error:
        yield f"{SBOM} is malformed ({error})"
