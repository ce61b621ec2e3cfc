"""Results of the stages before `bundle`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundles.errors import BundleError
from core.files import read_json, sha256_file
from core.schemas import TRAIN
from devices.latency.device_profile import DeviceProfile
from devices.measure.delivered import ExportResult
from devices.quantize.result import QuantizeResult
from models.predict.ranking import SCHEMA as CERTIFICATE
from models.search.choice import Choice
from models.space.architecture import SCHEMA as ARCHITECTURE
from models.space.architecture import Architecture


@dataclass(frozen=True)
class Results:
    """Results of the previous stages, read from their files.

    Attributes:
        architecture: architecture of the network.
        choice: the selection and its reason.
        profile: `latency.json`.
        certificate: `certificate.json` of the stage rank.
        train: `train.json`.
        quantize: `quantize.json`.
        export: `export.json`.
        hashes: SHA-256 by name of these files, `ranking.json`, the trained weights and the
            selected ONNX file.
    """

    architecture: Architecture
    choice: Choice
    profile: DeviceProfile
    certificate: Mapping[str, Any]
    train: Mapping[str, Any]
    quantize: QuantizeResult
    export: ExportResult
    hashes: Mapping[str, str]


def read_results(
    profile: Path, rank: Path, choice: Path, train: Path, quantize: Path, export: Path
) -> Results:
    """Read the results of the previous stages, and check that they belong to one network.

    Raises:
        FileFormatError: a file is missing or of another version.
        BundleError: the stages' results belong to different networks.
    """
    files = {
        "certificate": (rank / "certificate.json", CERTIFICATE),
        "train": (train / "train.json", TRAIN),
        "architecture": (train / "architecture.json", ARCHITECTURE),
    }
    content = {name: read_json(path, schema) for name, (path, schema) in files.items()}
    architecture = Architecture.from_json(content.pop("architecture"))
    chosen = Choice.read(choice)
    ids = {
        "choice": chosen.architecture.id,
        "train": content["train"]["architecture_id"],
        "architecture.json": architecture.id,
    }
    if len(set(ids.values())) != 1:
        raise BundleError(f"the stages' results have different networks: {ids}. Run them again.")
    quantized, exported = QuantizeResult.read(quantize), ExportResult.read(export)
    if exported.built_from != quantized.file:
        raise BundleError("export and quantize have different candidates. Run export again.")
    paths = [
        profile / DeviceProfile.FILE,
        *(path for path, _ in files.values()),
        quantize / QuantizeResult.FILE,
        export / ExportResult.FILE,
        rank / "ranking.json",
        train / "model.safetensors",
        quantize / quantized.file,
    ]
    hashes = {path.name: sha256_file(path) for path in paths}
    hashes["choice.json"] = sha256_file(choice)  # its file name is the device's name
    return Results(
        architecture,
        chosen,
        DeviceProfile.read(profile),
        **content,
        quantize=quantized,
        export=exported,
        hashes=hashes,
    )
