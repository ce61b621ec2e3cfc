"""Pack all files that one device needs into one archive, and check the device's limits."""

from __future__ import annotations

import argparse
from pathlib import Path

from bundles.build.archive import Folders, build_archive
from bundles.build.results import read_results
from bundles.gate import check_limits
from bundles.settings import BundleParams
from bundles.summary import summarize
from core.files import write_bytes
from core.process import prepare_machine
from core.settings import read_section
from devices.fleet.read import pick_device


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
    folders = Folders(flags.data, flags.quantize, flags.export)
    manifest, packed = build_archive(flags.device, device, results, folders, params)
    verdict = check_limits(manifest, len(packed))
    archive = flags.out / f"{flags.device}.tar.gz"
    write_bytes(archive, packed)
    summarize(manifest, archive, packed, verdict).write(flags.out)
    for reason in verdict.reasons:
        print(f"{flags.device}: {reason}")
