"""Collect the bundles of all devices into one index and one plot.

A bundle that failed its quality gate is listed too, with the reasons.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bundles.picture import draw
from bundles.summary import BundleSummary, Release
from core.files import write_bytes
from devices.fleet.read import read_devices


def main() -> None:
    """Parse the flags, read the bundles' summaries, write `release.json` and `pareto.png`."""
    parser = argparse.ArgumentParser(prog="python -m stages release", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    summaries = {
        name: BundleSummary.read_with_archive(flags.bundles / name, name)
        for name in read_devices(flags.params)
    }
    Release(devices={name: row.entry() for name, row in summaries.items()}).write(flags.out)
    write_bytes(flags.out / "pareto.png", draw(summaries))
