"""Build the content of a bundle's manifest from the stages' results.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundles.build.ledger import build_ledger, predicted_ms
from bundles.build.results import Results
from bundles.golden import Golden
from bundles.manifest import accuracy_of
from core.files import rounded, sha256_file
from data.dataset import FILE as DATASET_FILE
from data.dataset import DatasetInfo, Split
from data.stream import normalise
from devices.device import Device, Precision
from devices.latency.budgets import peak_memory_mb, with_milliseconds
from devices.latency.table import LatencyTable
from devices.measure.fingerprint import IDENTITY
from devices.measure.target import Target
from models.nets.equivalence import onnx_name, require_checks
from models.space.architecture import Architecture
from models.space.costs import flops, parameters

PORTABLE = "model.onnx"
PRIVATE = {"agent", "agent_token_env", "agent_patience_s", "table"}
"""Device fields that are excluded from bundles."""
PACKAGES = ("netwright", "numpy", "onnx", "onnxruntime", "torch")


def golden_indices(images: int, wanted: int) -> list[int]:
    """Return the indices of the bundled test images, evenly spaced over the split."""
    count = min(images, wanted)
    return [index * images // count for index in range(count)]


def make_golden(
    target: Target,
    entry: Path,
    threads: int,
    split: Split,
    info: DatasetInfo,
    wanted: int,
    allowed: Callable[[float], float],
) -> Golden:
    """Run a sample of test images through the delivered file.

    Args:
        target: execution target.
        entry: the delivered file.
        threads: threads the runtime may use.
        split: the test split.
        info: its description.
        wanted: number of images.
        allowed: maps the largest absolute logit to the tolerance.
    """
    chosen = golden_indices(len(split), wanted)
    images_NHWC = np.asarray(split.images_NHWC[chosen])
    inputs_NCHW = np.ascontiguousarray(normalise(images_NHWC, info).numpy())
    outputs_NK = target.outputs(entry, (row[np.newaxis] for row in inputs_NCHW), threads)
    labels_N, largest = np.asarray(split.labels_N[chosen]), float(np.abs(outputs_NK).max())
    return Golden(images_NHWC, inputs_NCHW, outputs_NK, labels_N, allowed(largest))


def manifest_content(
    name: str,
    device: Device,
    results: Results,
    golden: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all manifest fields except `files`, `schema` and `digest`, as JSON values.

    Args:
        name: the device's name.
        device: its description.
        results: results of the previous stages.
        golden: the manifest's field of that name.
        provenance: the manifest's field of that name.
    """
    architecture, export, quantize = results.architecture, results.export, results.quantize
    details = dict(export["details"])
    resolved = with_milliseconds(device, LatencyTable.from_json(results.latency))
    return {
        "name": name,
        # The device's address is private, and an untrusted bundle must never name a host to
        # connect to.
        "device": resolved.model_dump(mode="json", exclude=PRIVATE),
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
            "built_from": export["built_from"],
            "built_from_sha256": results.hashes[export["built_from"]],
            "details": details,
            "weight_bits": quantize["weight_bits"],
            "measured_on": _processor(export["machine"]),
        },
        "accuracy": _accuracy(results),
        "latency_ms": {
            "predicted": predicted_ms(results, export["built_from"]),
            "measured": export["measured_ms"],
            "interval": export.get("interval"),
            "budget": resolved.budget.latency_ms,
            "share": device.budget.latency_share,
            "reference": _reference(results),
            "why_not_measured": export["why_not_measured"],
        },
        "costs": _costs(architecture, device, export["precision"]),
        "candidates": quantize["candidates"],
        "choice": quantize["reason"],
        "ledger": build_ledger(results),
        "hops": chain(results),
        "golden": dict(golden),
        "provenance": dict(provenance),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def _processor(machine: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the machine fields that determine which kernels run."""
    if machine is None:
        return None
    return {name: machine.get(name) for name in ("processor", "system", "features")}


def _reference(results: Results) -> dict[str, Any] | None:
    """Return the reference network of the measurement; None if latency was not measured."""
    latency, measured = results.latency, results.export["measured_ms"] is not None
    if not measured or latency.get("reference") is None:
        return None
    machine = latency["machine"] or {}
    return {
        "architecture": latency["reference"],
        "ms": latency["reference_ms"],
        "machine": {key: machine[key] for key in IDENTITY if key in machine},
    }


def _costs(architecture: Architecture, device: Device, precision: Precision) -> dict[str, Any]:
    """Return FLOPs, parameters, and peak memory if the device has a memory budget."""
    limited = device.budget.memory_mb is not None
    memory_mb = rounded(peak_memory_mb(precision)(architecture)) if limited else None
    return {
        "flops": flops(architecture),
        "parameters": parameters(architecture),
        "memory_mb": memory_mb,
    }


def chain(results: Results) -> list[dict[str, Any]]:
    """Return the equivalence checks from supernet to delivered file, in order.

    Raises:
        EquivalenceError: one is missing or broken; the message names it.
    """
    sources = {row["name"]: row["source"] for row in results.quantize["candidates"]}
    targets, name = set[str](), results.quantize["name"]
    while name is not None:
        targets.add(onnx_name(name))
        name = sources[name]
    variants = [hop for hop in results.quantize["hops"] if hop["to"] in targets]
    hops = [results.train["slice"], *variants, *results.export["hops"]]
    require_checks(hops)
    return hops


def provenance_of(
    sections: Sequence[Any], data: Path, info: DatasetInfo, results: Results
) -> dict[str, Any]:
    """Return the provenance: hashes of params, data set and results.

    Args:
        sections: params read by this stage, as JSON values.
        data: the prepared data set's folder.
        info: its description.
        results: results of the previous stages.
    """
    canonical = json.dumps(list(sections), sort_keys=True, separators=(",", ":"))
    return {
        "params_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "dataset": info.name,
        "dataset_sha256": sha256_file(data / DATASET_FILE),
        "inputs": dict(results.hashes),
    }


def _accuracy(results: Results) -> dict[str, Any]:
    """Return test-split top-1; of the portable file if the delivered file cannot run."""
    candidates = results.quantize["candidates"]
    by_name = {row["name"]: row["accuracy"] for row in candidates}
    delivered, runtime = results.export["accuracy"], results.export["runtime"]
    measured_on = f"the delivered file in {runtime}"
    if delivered is None:
        delivered = by_name[results.quantize["name"]]
        why = "is only emulated" if results.export["emulated"] else "does not run"
        measured_on = f"the portable ONNX file in ONNX Runtime, as {runtime} {why} here"
    return {
        "float32": accuracy_of("float32", candidates, results.export["built_from"]),
        "int8": accuracy_of("int8", candidates, results.export["built_from"]),
        "delivered": delivered,
        "measured_on": measured_on,
    }
