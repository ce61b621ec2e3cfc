"""Collect the bundles of all devices into one index and one plot.

A bundle that failed its quality gate is listed too, with the reasons.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles.picture.picture import draw
from core.files import FileFormatError, read_json, sha256_file, write_bytes, write_json
from core.schemas import BUNDLE_SUMMARY
from devices.fleet.read import read_devices

SCHEMA = "netwright/release/1"
ENTRY = (
    "architecture",
    "architecture_id",
    "precision",
    "accuracy",
    "latency_ms",
    "size_bytes",
    "bundle",
    "sha256",
    "passed",
    "reasons",
    "undecided",
)
"""Fields of one device's entry."""


def main() -> None:
    """Parse the flags, read the bundles' summaries, write `release.json` and `pareto.png`."""
    parser = argparse.ArgumentParser(prog="python -m stages release", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    summaries = {
        name: read_summary(flags.bundles / name, name) for name in read_devices(flags.params)
    }
    write_json(flags.out / "release.json", SCHEMA, release(summaries))
    write_bytes(flags.out / "pareto.png", draw(summaries))


def read_summary(folder: Path, device: str) -> dict[str, Any]:
    """Read the summary of one device's bundle, and check the archive's hash.

    Raises:
        FileFormatError: the device has no bundle, or the archive is not the one described.
    """
    file = folder / "bundle.json"
    if not file.is_file():
        raise FileFormatError(
            f"device '{device}' has no bundle: {file} is missing. Run the stage bundle@{device}, "
            "or remove the device from params.yaml."
        )
    found = read_json(file, BUNDLE_SUMMARY)
    archive = folder / f"{device}.tar.gz"
    if not archive.is_file() or sha256_file(archive) != found["sha256"]:
        raise FileFormatError(
            f"{archive} is missing or is not the archive that {file} describes. "
            f"Run the stage bundle@{device} again."
        )
    return {**found, "bundle": archive.as_posix()}


def release(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of `release.json`."""
    return {"devices": {name: {key: row[key] for key in ENTRY} for name, row in summaries.items()}}
