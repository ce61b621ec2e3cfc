"""`bundle.json` and `release.json`: what the gate, the plot and the report need of each bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from bundles.gate import Verdict
from bundles.manifest import Accuracy, Costs, Latency, Manifest
from core.artifact import Artifact, Record
from core.files import FileFormatError, sha256_file
from devices.device import Budget, Precision
from devices.quantize.result import Candidate
from models.nets.equivalence import EquivalenceCheck
from models.quality.record import QualitySummary

Verdicts = Literal["passed", "undecided", "held back"]


class ReleaseEntry(Record):
    """A device's entry of `release.json`."""

    architecture: dict[str, object]
    architecture_id: str
    precision: Precision
    accuracy: Accuracy
    quality: QualitySummary | None = None
    """Of the delivered file; None if it was not recorded."""
    latency_ms: Latency
    size_bytes: int
    bundle: str
    """Path of the archive."""
    sha256: str
    """SHA-256 of the archive."""
    passed: bool
    """Whether the gate lets the bundle pass."""
    reasons: tuple[str, ...]
    """Limits that are exceeded, undecided or were not measured."""
    undecided: tuple[str, ...] = ()
    """The reasons whose limit lies within the measurement's confidence interval."""

    @property
    def verdict(self) -> Verdicts:
        """`undecided`: passed, but a limit lies within a confidence interval."""
        if not self.passed:
            return "held back"
        return "undecided" if self.undecided else "passed"


class BundleSummary(ReleaseEntry, Artifact):
    """Summary of one device's bundle."""

    SCHEMA = "netwright/bundle-summary/1"
    FILE = "bundle.json"

    device: str
    """The device's name."""
    architecture_short: str
    why_not_measured: str | None
    costs: Costs
    budget: Budget
    min_accuracy: float
    candidates: tuple[Candidate, ...]
    checks: tuple[EquivalenceCheck, ...] = Field(alias="hops")

    @classmethod
    def read_with_archive(cls, folder: Path, device: str) -> BundleSummary:
        """Read the summary of a device's bundle, and check the archive's hash.

        Raises:
            FileFormatError: the device has no bundle, or the archive is not the one described.
        """
        file, archive = folder / cls.FILE, folder / f"{device}.tar.gz"
        if not file.is_file():
            raise FileFormatError(
                f"device '{device}' has no bundle: {file} is missing. Run the stage "
                f"bundle@{device}, or remove the device from params.yaml."
            )
        found = cls.read(file)
        if not archive.is_file() or sha256_file(archive) != found.sha256:
            raise FileFormatError(
                f"{archive} is missing or is not the archive that {file} describes. "
                f"Run the stage bundle@{device} again."
            )
        return found.model_copy(update={"bundle": archive.as_posix()})

    def entry(self) -> ReleaseEntry:
        """Return the device's entry of `release.json`."""
        return ReleaseEntry(**{name: getattr(self, name) for name in ReleaseEntry.model_fields})


class Release(Artifact):
    """The index of a release: one entry per device."""

    SCHEMA = "netwright/release/1"
    FILE = "release.json"

    devices: dict[str, ReleaseEntry]


def summarize(manifest: Manifest, archive: Path, packed: bytes, verdict: Verdict) -> BundleSummary:
    """Summarize the bundle with these bytes at the path `archive`."""
    same = BundleSummary.model_fields.keys() & Manifest.model_fields.keys() - {"device"}
    return BundleSummary(
        **{name: getattr(manifest, name) for name in same},
        device=manifest.name,
        why_not_measured=manifest.latency_ms.why_not_measured,
        budget=manifest.device.budget,
        min_accuracy=manifest.device.min_accuracy,
        size_bytes=len(packed),
        bundle=archive.as_posix(),
        sha256=hashlib.sha256(packed).hexdigest(),
        passed=verdict.passed,
        reasons=verdict.reasons,
        undecided=verdict.undecided,
    )
