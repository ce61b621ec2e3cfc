"""Build a bundle's archive from the stages' results.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundles.archive import Archive, pack
from bundles.build.card import model_card
from bundles.build.content import PORTABLE, manifest_content
from bundles.build.results import Results
from bundles.build.run_program import run_program
from bundles.build.sbom import sbom
from bundles.gate import check_limits
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
    Content,
    GoldenOutputs,
    Manifest,
    read_manifest,
    reproducible_sha256,
    to_bytes,
)
from bundles.settings import BundleParams
from bundles.summary import BundleSummary, summarize
from core.files import json_bytes, write_bytes
from data.dataset import DatasetInfo, read_split
from data.stream import normalise
from devices.device import Device
from devices.measure.delivered import subsample
from devices.measure.target import LocalTarget, open_target
from devices.runtimes.registry import backend
from models.quality.record import Quality

RUN = "run.py"


@dataclass(frozen=True)
class Bundled:
    """A device's bundle: the bytes of its archive, and their summary."""

    packed: bytes
    summary: BundleSummary

    def write(self, out: Path) -> None:
        """Write the archive and `bundle.json`."""
        write_bytes(out / Path(self.summary.bundle).name, self.packed)
        self.summary.write(out)


def build_bundle(results: Results, params: BundleParams, out: Path) -> Bundled:
    """Build a device's bundle and check its limits; equal inputs give equal bytes.

    The summary records that the archive will be in the folder `out`.

    Raises:
        EquivalenceError: an equivalence check is missing or failed.
    """
    golden, computed_by = compute_golden(results, params)
    files = {
        **model_files(results),
        **metadata_files(results.info),
        GOLDEN: golden_bytes(golden),
        Quality.FILE: json_bytes(Quality.SCHEMA, results.export.quality.to_json()),
        RUN: run_program(backend(results.device.backend).session).encode(),
    }
    recorded = GoldenOutputs(
        images=len(golden.labels_N), tolerance=golden.tolerance, computed_by=computed_by
    )
    content = manifest_content(results, recorded, params)
    reproducible = reproducible_sha256(content.to_json(), files)
    files[CARD] = model_card(content, reproducible, results).encode()
    files[SBOM] = sbom(content, results.info, files)
    manifest, packed = assemble(content, reproducible, files)
    verdict = check_limits(manifest, len(packed))
    archive = out / f"{results.name}.tar.gz"
    return Bundled(packed, summarize(manifest, archive, packed, verdict))


def model_files(results: Results) -> dict[str, bytes]:
    """Return the delivered files, and the portable ONNX file if it is not among them."""
    folders, export = results.folders, results.export
    files = {name: (folders.export / name).read_bytes() for name in export.files}
    if PORTABLE not in files:
        files[PORTABLE] = (folders.quantize / export.built_from).read_bytes()
    return files


def compute_golden(results: Results, params: BundleParams) -> tuple[Golden, str]:
    """Run a sample of test images, evenly spaced; also return the name of the runtime.

    Runs the delivered file in the device's runtime; if that is not available, the ONNX file it
    was built from in ONNX Runtime.
    """
    export, device, folders = results.export, results.device, results.folders
    target, entry = open_target(results.name, device), folders.export / export.entry
    if target.why_not_run:
        portable = Device(backend="onnxruntime", budget=device.budget, min_accuracy=0)
        target, entry = LocalTarget(results.name, portable), folders.quantize / export.built_from
    test = subsample(read_split(folders.data, "test"), params.golden_images)
    images_NHWC, labels_N = np.asarray(test.images_NHWC), np.asarray(test.labels_N)
    inputs_NCHW = np.ascontiguousarray(normalise(images_NHWC, results.info).numpy())
    outputs_NK = target.outputs(entry, (row[np.newaxis] for row in inputs_NCHW), device.threads)
    tolerance = tolerance_of(
        export.precision,
        float(np.abs(outputs_NK).max()),
        export.checks[0].max_difference,
        getattr(params.tolerance, export.precision),
    )
    golden = Golden(images_NHWC, inputs_NCHW, outputs_NK, labels_N, tolerance)
    emulated = ", emulated" if export.emulated else ""
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


def assemble(
    content: Content, reproducible: str, files: Mapping[str, bytes]
) -> tuple[Manifest, bytes]:
    """Build the manifest of these files, and the archive of both."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    derived = {"reproducible_sha256": reproducible, "files": hashes}
    whole = {**files, MANIFEST: to_bytes({**content.to_json(), **derived})}
    packed = pack(whole)
    # The manifest is validated by the reader before it is delivered.
    return read_manifest(Archive(Path(MANIFEST), whole, len(packed))), packed
