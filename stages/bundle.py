"""Pack all files that one device needs into one archive, and check the device's limits."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles.archive import pack
from bundles.build.card import model_card
from bundles.build.content import (
    PORTABLE,
    make_golden,
    manifest_content,
    provenance_of,
)
from bundles.build.results import Results, read_results
from bundles.build.run_program import run_program
from bundles.build.sbom import sbom
from bundles.gate import Verdict, check_limits
from bundles.golden import (
    GOLDEN,
    LABELS,
    PREPROCESS,
    PREPROCESS_SCHEMA,
    Golden,
    golden_bytes,
    tolerance_of,
)
from bundles.manifest import (
    CARD,
    MANIFEST,
    SBOM,
    Manifest,
    read_manifest,
    reproducible_sha256,
    to_bytes,
)
from bundles.settings import BundleParams
from core.files import json_bytes, write_bytes, write_json
from core.process import prepare_machine
from core.schemas import BUNDLE_SUMMARY
from core.settings import read_section
from data.dataset import DatasetInfo, read_split
from devices.device import Device
from devices.fleet.read import pick_device
from devices.measure.target import LocalTarget, open_target
from devices.runtimes.registry import backend

RUN = "run.py"


def main() -> None:
    """Parse the flags, read the stages' results, write the archive and its summary."""
    parser = argparse.ArgumentParser(prog="python -m stages bundle", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    for name in ("data", "profile", "rank", "choice", "train", "quantize", "export", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "bundle", BundleParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, 0)
    results = read_results(
        flags.profile, flags.rank, flags.choice, flags.train, flags.quantize, flags.export
    )

    info = DatasetInfo.read(flags.data)
    files = model_files(results, flags.quantize, flags.export)
    golden, computed_by = compute_golden(results, device, params, info, flags)
    files |= {GOLDEN: golden_bytes(golden), **metadata_files(info)}
    files[RUN] = run_program(backend(device.backend).session).encode()
    settings = params.model_dump(mode="json")
    sections = [settings, device.model_dump(mode="json")]
    content = manifest_content(
        flags.device,
        device,
        results,
        {
            "images": len(golden.labels_N),
            "tolerance": golden.tolerance,
            "computed_by": computed_by,
        },
        provenance_of(sections, flags.data, info, results),
    )
    content["reproducible_sha256"] = reproducible_sha256(content, files)
    files[CARD] = model_card(content, info, results).encode()
    files[SBOM] = sbom(content, info, files)
    manifest, packed = assemble(content, files)
    verdict = check_limits(manifest, len(packed))
    archive = flags.out / f"{flags.device}.tar.gz"
    write_bytes(archive, packed)
    write_json(
        flags.out / "bundle.json", BUNDLE_SUMMARY, summary(manifest, archive, packed, verdict)
    )
    for reason in verdict.reasons:
        print(f"{flags.device}: {reason}")


def model_files(results: Results, quantize: Path, export: Path) -> dict[str, bytes]:
    """Return the delivered files, and the portable ONNX file if it is not among them."""
    files = {name: (export / name).read_bytes() for name in results.export["files"]}
    if PORTABLE not in files:
        files[PORTABLE] = (quantize / results.export["built_from"]).read_bytes()
    return files


def compute_golden(
    results: Results,
    device: Device,
    params: BundleParams,
    info: DatasetInfo,
    flags: argparse.Namespace,
) -> tuple[Golden, str]:
    """Compute golden inputs and outputs; also return the name of the runtime.

    Runs the delivered file in the device's runtime; if that is not available, the ONNX file it
    was built from in ONNX Runtime.
    """
    precision = str(results.export["precision"])
    target, entry = open_target(flags.device, device), flags.export / results.export["entry"]
    if target.why_not_run:
        portable = Device(backend="onnxruntime", budget=device.budget, min_accuracy=0)
        target, entry = LocalTarget(portable), flags.quantize / results.export["built_from"]
    most = getattr(params.tolerance, precision)
    measured = results.export["hops"][0]["max_difference"]
    golden = make_golden(
        target,
        entry,
        device.threads,
        read_split(flags.data, "test"),
        info,
        params.golden_images,
        lambda largest: tolerance_of(precision, largest, measured, most),
    )
    emulated = ", emulated" if results.export["emulated"] else ""
    machine = target.machine()
    return golden, f"{machine['runtime']} {machine['runtime_version']}{emulated}"


def metadata_files(info: DatasetInfo) -> dict[str, bytes]:
    """Return `preprocess.json` and `labels.json`."""
    preprocess = {
        "layout": "NCHW",
        "image_shape": list(info.image_shape),
        "fit": info.fit,
        "scale": 255.0,
        "mean": list(info.mean),
        "std": list(info.std),
    }
    if info.bits is not None:
        preprocess["bits"] = info.bits
    return {
        PREPROCESS: json_bytes(PREPROCESS_SCHEMA, preprocess),
        LABELS: json_bytes("netwright/labels/1", {"labels": list(info.classes)}),
    }


def assemble(content: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[Manifest, bytes]:
    """Build the manifest of these files, and the archive of both."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    whole = {**files, MANIFEST: to_bytes({**content, "files": hashes})}
    # The manifest is validated by the reader before it is delivered.
    return read_manifest(Path(MANIFEST), whole), pack(whole)


def summary(manifest: Manifest, archive: Path, packed: bytes, verdict: Verdict) -> dict[str, Any]:
    """Return the device's entry of `release.json`, and the data of the release plot."""
    latency = manifest.latency_ms
    return {
        "device": manifest.name,
        "architecture": manifest.architecture,
        "architecture_id": manifest.architecture_id,
        "architecture_short": manifest.architecture_short,
        "precision": manifest.precision,
        "accuracy": manifest.accuracy.model_dump(include={"float32", "int8", "delivered"}),
        "latency_ms": latency.model_dump(
            mode="json", include={"predicted", "measured", "interval", "budget", "share"}
        ),
        "why_not_measured": latency.why_not_measured,
        "costs": manifest.costs.model_dump(),
        "budget": manifest.device.budget.model_dump(),
        "min_accuracy": manifest.device.min_accuracy,
        "candidates": list(manifest.candidates),
        "hops": [hop.model_dump(by_alias=True) for hop in manifest.hops],
        "size_bytes": len(packed),
        "bundle": archive.as_posix(),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "undecided": list(verdict.undecided),
    }
