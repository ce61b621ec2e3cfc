"""Collect the bundles of all devices into one index and one plot.

A bundle that failed its quality gate is listed too, with the reasons.
"""

from __future__ import annotations

from pathlib import Path

from bundles.release import Released
from bundles.summary import BundleSummary
from devices.device import Device


def release(devices: dict[str, Device], bundles: Path) -> Released:
    """Read the summary of every device's bundle.

    Raises:
        FileFormatError: a device has no bundle, or its archive is not the one described.
    """
    return Released(
        {name: BundleSummary.read_with_archive(bundles / name, name) for name in devices}
    )
