"""Build a bundle's archive from the stages' results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundles.archive import pack
from bundles.build.card import model_card
from bundles.build.content import PORTABLE, make_golden, manifest_content, provenance_of
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
from devices.device import Device
from devices.measure.target import LocalTarget, open_target
from devices.runtimes.registry import backend

RUN = "run.py"


@dataclass(frozen=True)
class Folders:
    """Folders of the files that a bundle contains or is computed from.

    Attributes:
        data: the prepared data set.
        quantize: output of the stage `quantize`, with the ONNX files.
        export: output of the stage `export`, with the delivered files.
    """

    data: Path
    quantize: Path
    export: Path


@dataclass(frozen=True)
class Bundled:
    """A device's bundle: the bytes of its archive, and their summary."""

    packed: bytes
    summary: BundleSummary

    def write(self, out: Path) -> None:
        """Write the archive and `bundle.json`."""
        write_bytes(out / Path(self.summary.bundle).name, self.packed)
        self.summary.write(out)


def build_archive(
    name: str,
    device: Device,
    results: Results,
    folders: Folders,
    params: BundleParams,
    out: Path,
) -> Bundled:
    """Build a device's bundle and check its limits; equal inputs give equal bytes.

    Args:
        name: the device's name.
        device: its settings.
        results: results of the previous stages.
        folders: where their files are.
        params: params of the stage `bundle`.
        out: folder of the archive, as recorded in the summary.

    Raises:
        EquivalenceError: an equivalence check is missing or failed.
    """
    info = DatasetInfo.read(folders.data)
    files = model_files(results, folders)
    golden, computed_by = compute_golden(name, device, results, folders, params, info)
    files |= {GOLDEN: golden_bytes(golden), **metadata_files(info)}
    files[RUN] = run_program(backend(device.backend).session).encode()
    settings = params.model_dump(mode="json")
    sections = [settings, device.model_dump(mode="json")]
    content = manifest_content(
        name,
        device,
        results,
        GoldenOutputs(
            images=len(golden.labels_N), tolerance=golden.tolerance, computed_by=computed_by
        ),
        provenance_of(sections, folders.data, info, results),
    )
    reproducible = reproducible_sha256(content.to_json(), files)
    files[CARD] = model_card(content, reproducible, info, results).encode()
    files[SBOM] = sbom(content, info, files)
    manifest, packed = assemble(content, reproducible, files)
    verdict = check_limits(manifest, len(packed))
    return Bundled(packed, summarize(manifest, out / f"{name}.tar.gz", packed, verdict))


def model_files(results: Results, folders: Folders) -> dict[str, bytes]:
    """Return the delivered files, and the portable ONNX file if it is not among them."""
    files = {name: (folders.export / name).read_bytes() for name in results.export.files}
    if PORTABLE not in files:
        files[PORTABLE] = (folders.quantize / results.export.built_from).read_bytes()
    return files


def compute_golden(
    name: str,
    device: Device,
    results: Results,
    folders: Folders,
    params: BundleParams,
    info: DatasetInfo,
) -> tuple[Golden, str]:
    """Compute golden inputs and outputs; also return the name of the runtime.

    Runs the delivered file in the device's runtime; if that is not available, the ONNX file it
    was built from in ONNX Runtime.
    """
    export = results.export
    target, entry = open_target(name, device), folders.export / export.entry
    if target.why_not_run:
        portable = Device(backend="onnxruntime", budget=device.budget, min_accuracy=0)
        target, entry = LocalTarget(portable), folders.quantize / export.built_from
    most, measured = getattr(params.tolerance, export.precision), export.checks[0].max_difference
    golden = make_golden(
        target,
        entry,
        device.threads,
        read_split(folders.data, "test"),
        info,
        params.golden_images,
        lambda largest: tolerance_of(export.precision, largest, measured, most),
    )
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
    # The manifest is validated by the reader before it is delivered.
    return read_manifest(Path(MANIFEST), whole), pack(whole)
