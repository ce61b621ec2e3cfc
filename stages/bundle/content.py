"""From the stages' results to the content of a bundle's manifest.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import FILE as DATASET_FILE
from data.dataset import DatasetInfo, Split
from data.stream import normalise
from devices.backends import Backend
from devices.device import Device
from devices.latency import LatencyTable
from models.architecture import SCHEMA as ARCHITECTURE
from models.architecture import Architecture
from models.costs import flops, parameters
from models.ranking import SCHEMA as CERTIFICATE
from stages.bundle.errors import BundleError
from stages.bundle.golden import Golden
from stages.common.files import read_json, rounded, sha256_file
from stages.common.schemas import EXPORT, LATENCY, QUANTIZE, RANKED, TRAIN

PORTABLE = "model.onnx"
PACKAGES = ("netwright", "numpy", "onnx", "onnxruntime", "torch")


@dataclass(frozen=True)
class Results:
    """What the stages before found, read from their folders.

    Attributes:
        architecture: the network.
        latency: `latency.json` of the stage profile.
        ranking: `ranking.json` of the stage rank.
        certificate: `certificate.json` of the stage rank.
        train: `train.json`.
        quantize: `quantize.json`.
        export: `export.json`.
        hashes: SHA-256 of each of these files, by name.
    """

    architecture: Architecture
    latency: Mapping[str, Any]
    ranking: Mapping[str, Any]
    certificate: Mapping[str, Any]
    train: Mapping[str, Any]
    quantize: Mapping[str, Any]
    export: Mapping[str, Any]
    hashes: Mapping[str, str]


def read_results(profile: Path, rank: Path, train: Path, quantize: Path, export: Path) -> Results:
    """Read the results of the stages before, and check that they speak of one network.

    Raises:
        FileFormatError: a file is missing or of another version.
        BundleError: the stages' results are of different networks.
    """
    files = {
        "latency": (profile / "latency.json", LATENCY),
        "ranking": (rank / "ranking.json", RANKED),
        "certificate": (rank / "certificate.json", CERTIFICATE),
        "train": (train / "train.json", TRAIN),
        "quantize": (quantize / "quantize.json", QUANTIZE),
        "export": (export / "export.json", EXPORT),
        "architecture": (train / "architecture.json", ARCHITECTURE),
    }
    content = {name: read_json(path, schema) for name, (path, schema) in files.items()}
    architecture = Architecture.from_json(content.pop("architecture"))
    ids = {
        "rank": content["ranking"]["chosen"]["architecture_id"],
        "train": content["train"]["architecture_id"],
        "architecture.json": architecture.id,
    }
    if len(set(ids.values())) != 1:
        raise BundleError(f"the stages' results are of different networks: {ids}. Run them again.")
    if content["export"]["precision"] != content["quantize"]["chosen"]:
        raise BundleError("export and quantize are of different precisions. Run export again.")
    hashes = {path.name: sha256_file(path) for path, _ in files.values()}
    return Results(architecture, **content, hashes=hashes)


def golden_indices(images: int, wanted: int) -> list[int]:
    """Which test images travel with the bundle: evenly spread over the split."""
    count = min(images, wanted)
    return [index * images // count for index in range(count)]


def make_golden(
    runtime: Backend,
    entry: Path,
    threads: int,
    split: Split,
    info: DatasetInfo,
    wanted: int,
    tolerance: float,
) -> Golden:
    """Run some test images through the delivered file.

    Args:
        runtime: what runs it.
        entry: the file.
        threads: threads the runtime may use.
        split: the test split.
        info: its description.
        wanted: how many images.
        tolerance: allowed difference, as a share of the largest logit.
    """
    chosen = golden_indices(len(split), wanted)
    images_NHWC = np.asarray(split.images_NHWC[chosen])
    inputs_NCHW = np.ascontiguousarray(normalise(images_NHWC, info).numpy())
    with runtime.open(entry, threads) as session:
        outputs_NK = np.concatenate([session(row[np.newaxis]) for row in inputs_NCHW])
    allowed = tolerance * float(np.abs(outputs_NK).max())
    return Golden(images_NHWC, inputs_NCHW, outputs_NK, np.asarray(split.labels_N[chosen]), allowed)


def predicted_ms(results: Results) -> float | None:
    """What the device's latency model says of the delivered precision; None if it knows none."""
    table, precision = LatencyTable.from_json(results.latency), str(results.export["precision"])
    if precision not in table.precisions:  # none at all for a device that was not measured
        return None
    keys = [block.key for block in results.architecture.present]
    return rounded(table.predict(keys, precision))


def manifest_content(
    name: str,
    device: Device,
    results: Results,
    golden: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """All fields of the manifest but `files`, `schema` and `digest`, as JSON values.

    Args:
        name: the device's name.
        device: its description.
        results: of the stages before.
        golden: the manifest's field of that name.
        provenance: the manifest's field of that name.
    """
    architecture, export, quantize = results.architecture, results.export, results.quantize
    details = dict(export["details"])
    return {
        "name": name,
        "device": device.model_dump(mode="json"),
        "architecture": architecture.to_json(),
        "architecture_id": architecture.id,
        "architecture_short": architecture.short(),
        "precision": export["precision"],
        "model": {
            "runtime": export["runtime"],
            "runtime_version": export["details"].get("runtime_version", export["runtime_version"]),
            "entry": export["entry"],
            "files": export["files"],
            "portable": PORTABLE,
            "not_reproducible": list(details.get("not_reproducible", [])),
            "details": details,
        },
        "accuracy": _accuracy(results),
        "latency_ms": {
            "predicted": predicted_ms(results),
            "measured": export["measured_ms"],
            "budget": device.budget.latency_ms,
            "why_not_measured": export["why_not_measured"],
        },
        "costs": {"flops": flops(architecture), "parameters": parameters(architecture)},
        "candidates": quantize["candidates"],
        "choice": quantize["reason"],
        "hops": chain(results),
        "golden": dict(golden),
        "provenance": dict(provenance),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def chain(results: Results) -> list[dict[str, Any]]:
    """The hops from the supernet to the delivered file, in order, of the delivered precision."""
    piece = results.train["slice"]
    first = {"from": "supernet slice", "to": "subnet", "limit": None, "passed": True, **piece}
    targets = {"float32 ONNX", f"{results.export['precision']} ONNX"}
    lower = [hop for hop in results.quantize["hops"] if hop["to"] in targets]
    return [first, *lower, *results.export["hops"]]


def provenance_of(
    sections: Sequence[Any], data: Path, info: DatasetInfo, results: Results
) -> dict[str, Any]:
    """Where the bundle comes from: hashes of params, data set and results.

    Args:
        sections: the params that this stage reads, as JSON values.
        data: the prepared data set's folder.
        info: its description.
        results: of the stages before.
    """
    canonical = json.dumps(list(sections), sort_keys=True, separators=(",", ":"))
    return {
        "params_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "dataset": info.name,
        "dataset_sha256": sha256_file(data / DATASET_FILE),
        "inputs": dict(results.hashes),
    }


def _accuracy(results: Results) -> dict[str, Any]:
    """Top-1 on the test split, per form; the portable file's where the delivered cannot run."""
    by_precision = {c["precision"]: c["accuracy"] for c in results.quantize["candidates"]}
    delivered, runtime = results.export["accuracy"], results.export["runtime"]
    measured_on = f"the delivered file in {runtime}"
    if delivered is None:
        delivered = by_precision[results.export["precision"]]
        measured_on = f"the portable ONNX file in ONNX Runtime, as {runtime} does not run here"
    return {
        "float32": by_precision["float32"],
        "int8": by_precision.get("int8"),
        "delivered": delivered,
        "measured_on": measured_on,
    }
