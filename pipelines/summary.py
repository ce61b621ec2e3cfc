"""The table at the end of a run, from the bundles' own summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.graph import Graph
from stages.common.files import read_json
from stages.common.schemas import BUNDLE_SUMMARY

WIDE = 240
"""Columns of the table where nobody looks at a terminal: nothing is cut off."""

Summaries = Mapping[str, Mapping[str, Any]]


def read_summaries(root: Path, graph: Graph, devices: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the bundle of each device says of itself; devices without a bundle are left out."""
    found = {}
    for device in devices:
        file = root / graph[f"bundle@{device}"].outs[0] / "bundle.json"
        if file.is_file():
            found[device] = read_json(file, BUNDLE_SUMMARY)
    return found


def held_back(summaries: Summaries) -> dict[str, list[str]]:
    """The devices whose bundle the gate holds back, and why."""
    return {name: list(row["reasons"]) for name, row in summaries.items() if not row["passed"]}


def summary_table(summaries: Summaries) -> Table:
    """One row a device."""
    table = Table(title="Bundles", title_justify="left")
    table.add_column("device", no_wrap=True)
    table.add_column("architecture", overflow="fold")
    table.add_column("precision")
    for heading in ("float32", "delivered"):
        table.add_column(f"accuracy\n{heading}", justify="right")
    for heading in ("predicted", "measured", "budget"):
        table.add_column(f"latency ms\n{heading}", justify="right")
    table.add_column("size MB", justify="right")
    table.add_column("verdict")
    table.add_column("bundle", overflow="fold")
    for name, row in summaries.items():
        latency, accuracy = row["latency_ms"], row["accuracy"]
        table.add_row(
            name,
            row["architecture_short"],
            row["precision"],
            _number(accuracy["float32"], 4),
            _number(accuracy["delivered"], 4),
            *(_number(latency[key], 3) for key in ("predicted", "measured", "budget")),
            _number(row["size_bytes"] / 1e6, 2),
            "[green]passed[/]" if row["passed"] else "[red]held back[/]",
            row["bundle"],
        )
    return table


def print_summary(console: Console, summaries: Summaries) -> None:
    """Print the table and, for every bundle held back, the reasons."""
    if not summaries:
        return
    wide = console if console.is_terminal else Console(file=console.file, width=WIDE)
    wide.print(summary_table(summaries))
    for name, reasons in held_back(summaries).items():
        for reason in reasons:
            console.print(f"{name}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
