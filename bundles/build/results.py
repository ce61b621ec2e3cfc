"""Results of the stages before `bundle`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundles.archive import BundleError
from core.files import read_json, sha256_file
from data.dataset import DatasetInfo
from devices.device import Device
from devices.latency.device_profile import DeviceProfile
from devices.measure.delivered import ExportResult
from devices.quantize.result import QuantizeResult
from models.nets.equivalence import EquivalenceCheck
from models.search.choice import Choice
from models.search.rank.certificate import CertificateRecord
from models.space.architecture import SCHEMA as ARCHITECTURE
from models.space.architecture import Architecture
from models.training.record import TrainRecord


@dataclass(frozen=True)
class Folders:
    """Outputs of the stages before `bundle`; `certificate` and `choice` are files."""

    data: Path
    profile: Path
    rank: Path
    certificate: Path
    choice: Path
    train: Path
    quantize: Path
    export: Path


@dataclass(frozen=True)
class Results:
    """Results of the previous stages for one device, read from their files.

    Attributes:
        name: the device's.
        info: of the data set.
        statement: sentence on the evidence for the network's ranking.
        slice_check: of the network's slice of the supernet, before its training.
        val_accuracy: of the trained network.
        hashes: SHA-256 by name of the stages' results, with the trained weights and the selected
            ONNX file.
    """

    name: str
    device: Device
    folders: Folders
    info: DatasetInfo
    architecture: Architecture
    choice: Choice
    statement: str
    profile: DeviceProfile
    slice_check: EquivalenceCheck
    val_accuracy: float | None
    quantize: QuantizeResult
    export: ExportResult
    hashes: Mapping[str, str]


def read_results(name: str, device: Device, folders: Folders) -> Results:
    """Read the results of the previous stages, and check that they belong to one network.

    Raises:
        FileFormatError: a file is missing or of another version.
        BundleError: the stages' results belong to different networks.
    """
    trained = TrainRecord.read(folders.train)
    architecture = Architecture.from_json(
        read_json(folders.train / "architecture.json", ARCHITECTURE)
    )
    choice = Choice.read(folders.choice)
    ids = {
        "choice": choice.architecture.id,
        "train": trained.architecture_id,
        "architecture.json": architecture.id,
    }
    if len(set(ids.values())) != 1:
        raise BundleError(f"the stages' results have different networks: {ids}. Run them again.")
    quantize, export = QuantizeResult.read(folders.quantize), ExportResult.read(folders.export)
    if export.built_from != quantize.file:
        raise BundleError("export and quantize have different candidates. Run export again.")
    return Results(
        name=name,
        device=device,
        folders=folders,
        info=DatasetInfo.read(folders.data),
        architecture=architecture,
        choice=choice,
        statement=CertificateRecord.read(folders.certificate).statement,
        profile=DeviceProfile.read(folders.profile),
        slice_check=trained.slice,
        val_accuracy=trained.accuracy.val,
        quantize=quantize,
        export=export,
        hashes=_hashes(folders, quantize.file),
    )


def _hashes(folders: Folders, onnx: str) -> dict[str, str]:
    files = (
        folders.profile / "latency.json",
        folders.rank / "ranking.json",
        folders.train / "train.json",
        folders.train / "architecture.json",
        folders.train / "model.safetensors",
        folders.quantize / "quantize.json",
        folders.quantize / onnx,
        folders.export / "export.json",
    )
    # These two files have the device's name.
    return {file.name: sha256_file(file) for file in files} | {
        "certificate.json": sha256_file(folders.certificate),
        "choice.json": sha256_file(folders.choice),
    }
