"""Pack all files that one device needs into one archive, and check the device's limits."""

from __future__ import annotations

from pathlib import Path

from bundles.build.archive import Bundled, Folders, build_archive
from bundles.build.results import read_results
from bundles.settings import BundleParams
from devices.device import Device


def bundle(
    settings: BundleParams,
    name: str,
    device: Device,
    data: Path,
    profile: Path,
    rank: Path,
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
    results = read_results(profile, rank, choice, train, quantize, export)
    folders = Folders(data, quantize, export)
    bundled = build_archive(name, device, results, folders, settings, out)
    for reason in bundled.summary.reasons:
        print(f"{name}: {reason}")
    return bundled
