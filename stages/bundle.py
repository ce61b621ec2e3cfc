"""Pack all files that one device needs into one archive, and check the device's limits."""

from __future__ import annotations

from pathlib import Path

from bundles.build.bundle import Bundled, build_bundle
from bundles.build.results import Folders, read_results
from bundles.settings import BundleParams
from devices.device import Device


def bundle(
    settings: BundleParams,
    name: str,
    device: Device,
    data: Path,
    profile: Path,
    rank: Path,
    certificate: Path,
    choice: Path,
    train: Path,
    quantize: Path,
    export: Path,
    out: Path,
) -> Bundled:
    """Pack the results of the previous stages.

    Raises:
        BundleError: they belong to different networks.
        EquivalenceError: an equivalence check is missing or failed.
    """
    folders = Folders(data, profile, rank, certificate, choice, train, quantize, export)
    bundled = build_bundle(read_results(name, device, folders), settings, out)
    for reason in bundled.summary.reasons:
        print(f"{name}: {reason}")
    return bundled
