"""From the stages' results to the content of a bundle's manifest.

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

from data.dataset import FILE as DATASET_FILE
from data.dataset import DatasetInfo, Split
from data.stream import normalise
from devices.bench import Bench
from devices.device import Device, Precision
from devices.fingerprint import IDENTITY
from devices.latency import LatencyTable
from models.architecture import Architecture
from models.costs import flops, parameters
from stages.bundle.golden import Golden
from stages.bundle.ledger import ledger, predicted_ms
from stages.bundle.manifest import accuracy_of
from stages.bundle.results import Results
from stages.common.budgets import peak_memory_mb, with_milliseconds
from stages.common.files import rounded, sha256_file
from stages.common.hops import onnx_form, require_chain

PORTABLE = "model.onnx"
PRIVATE = {"agent", "agent_token_env", "agent_patience_s", "table"}
"""Fields of a device that stay at home."""
PACKAGES = ("netwright", "numpy", "onnx", "onnxruntime", "torch")


def golden_indices(images: int, wanted: int) -> list[int]:
    """Which test images travel with the bundle: evenly spread over the split."""
    count = min(images, wanted)
    return [index * images // count for index in range(count)]


def make_golden(
    bench: Bench,
    entry: Path,
    threads: int,
    split: Split,
    info: DatasetInfo,
    wanted: int,
    allowed: Callable[[float], float],
) -> Golden:
    """Run some test images through the delivered file.

    Args:
        bench: where it runs.
        entry: the file.
        threads: threads the runtime may use.
        split: the test split.
        info: its description.
        wanted: how many images.
        allowed: from the largest logit to the allowed difference of any.
    """
    chosen = golden_indices(len(split), wanted)
    images_NHWC = np.asarray(split.images_NHWC[chosen])
    inputs_NCHW = np.ascontiguousarray(normalise(images_NHWC, info).numpy())
    outputs_NK = bench.outputs(entry, (row[np.newaxis] for row in inputs_NCHW), threads)
    labels_N, largest = np.asarray(split.labels_N[chosen]), float(np.abs(outputs_NK).max())
    return Golden(images_NHWC, inputs_NCHW, outputs_NK, labels_N, allowed(largest))


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
    told = with_milliseconds(device, LatencyTable.from_json(results.latency))
    return {
        "name": name,
        # Where the device can be reached is its owner's affair, and a stranger's bundle must never
        # say whom to connect to.
        "device": told.model_dump(mode="json", exclude=PRIVATE),
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
            "budget": told.budget.latency_ms,
            "share": device.budget.latency_share,
            "reference": _reference(results),
            "why_not_measured": export["why_not_measured"],
        },
        "costs": _costs(architecture, device, export["precision"]),
        "candidates": quantize["candidates"],
        "choice": quantize["reason"],
        "ledger": ledger(results),
        "hops": chain(results),
        "golden": dict(golden),
        "provenance": dict(provenance),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def _processor(machine: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of a machine decides which kernels it runs."""
    if machine is None:
        return None
    return {name: machine.get(name) for name in ("processor", "system", "features")}


def _reference(results: Results) -> dict[str, Any] | None:
    """What the delivered file was measured against; None where it was not measured."""
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
    """What the network costs by its shape; memory only where it has a budget."""
    limited = device.budget.memory_mb is not None
    memory_mb = rounded(peak_memory_mb(architecture, precision)) if limited else None
    return {
        "flops": flops(architecture),
        "parameters": parameters(architecture),
        "memory_mb": memory_mb,
    }


def chain(results: Results) -> list[dict[str, Any]]:
    """The hops from the supernet to the delivered file, in order, by way of the chosen form.

    Raises:
        HopError: one is missing or broken; the message names it.
    """
    sources = {row["name"]: row["source"] for row in results.quantize["candidates"]}
    targets, name = set[str](), results.quantize["name"]
    while name is not None:
        targets.add(onnx_form(name))
        name = sources[name]
    forms = [hop for hop in results.quantize["hops"] if hop["to"] in targets]
    hops = [results.train["slice"], *forms, *results.export["hops"]]
    require_chain(hops)
    return hops


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
    candidates = results.quantize["candidates"]
    by_form = {row["name"]: row["accuracy"] for row in candidates}
    delivered, runtime = results.export["accuracy"], results.export["runtime"]
    measured_on = f"the delivered file in {runtime}"
    if delivered is None:
        delivered = by_form[results.quantize["name"]]
        why = "is only emulated" if results.export["emulated"] else "does not run"
        measured_on = f"the portable ONNX file in ONNX Runtime, as {runtime} {why} here"
    return {
        "float32": accuracy_of("float32", candidates, results.export["built_from"]),
        "int8": accuracy_of("int8", candidates, results.export["built_from"]),
        "delivered": delivered,
        "measured_on": measured_on,
    }
