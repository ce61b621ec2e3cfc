"""A release: index and plot of the bundles of all devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundles.picture import draw
from bundles.summary import BundleSummary, Release
from core.files import write_bytes


@dataclass(frozen=True)
class Released:
    """Summaries of the bundles, by device."""

    summaries: Mapping[str, BundleSummary]

    def write(self, out: Path) -> None:
        """Write `release.json` and `pareto.png`."""
        Release(devices={name: row.entry() for name, row in self.summaries.items()}).write(out)
        write_bytes(out / "pareto.png", draw(self.summaries))
