"""The table at the end of a run, from the summaries of the bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bundles.manifest import Latency
from bundles.summary import BundleSummary
from pipelines.graph import Graph
from pipelines.tables import print_table

Summaries = Mapping[str, BundleSummary]


def read_summaries(root: Path, graph: Graph, devices: Sequence[str]) -> dict[str, BundleSummary]:
    """Read the summary of each device's bundle; devices without a bundle are left out."""
    files = {name: root / graph[f"bundle@{name}"].outs[0] / BundleSummary.FILE for name in devices}
    return {name: BundleSummary.read(file) for name, file in files.items() if file.is_file()}


def held_back(summaries: Summaries) -> dict[str, list[str]]:
    """The devices whose bundle the gate holds back, with the reasons."""
    return {name: list(row.reasons) for name, row in summaries.items() if not row.passed}


def undecided(summaries: Summaries) -> dict[str, list[str]]:
    """The devices with a limit within a measurement's confidence interval, with the reasons."""
    found = {name: list(row.undecided) for name, row in summaries.items()}
    return {name: reasons for name, reasons in found.items() if reasons}


def find_imprecise(summaries: Summaries, limit: float) -> dict[str, str]:
    """The devices whose latency is not exact enough, with the reasons.

    Its interval contains the budget, or has a half-width above `limit`, a share of the latency.
    """
    found = {name: "; ".join(reasons) for name, reasons in undecided(summaries).items()}
    for name, row in summaries.items():
        measured, ends = row.latency_ms.measured, row.latency_ms.interval
        if name in found or measured is None or ends is None:
            continue
        half = (ends[1] - ends[0]) / 2 / measured
        if half > limit:
            found[name] = (
                f"latency {measured:.4g} ms has an interval half-width of {half:.1%}, above "
                f"export.max_interval {limit:.1%}"
            )
    return found


COLOURS = {"passed": "green", "undecided": "yellow", "held back": "red"}
"""Colour of each verdict."""


def summary_table(summaries: Summaries) -> Table:
    """One row per device."""
    accuracies = (f"accuracy\n{name}" for name in ("float32", "delivered"))
    latencies = ("predicted", "measured", "95% interval", "budget")
    numbers = (*accuracies, *(f"latency ms\n{name}" for name in latencies), "size MB")
    table = Table(
        *("device", Column("architecture", overflow="fold"), "precision"),
        *(Column(heading, justify="right") for heading in numbers),
        *("verdict", Column("bundle", overflow="fold")),
        title="Bundles",
        title_justify="left",
    )
    for name, row in summaries.items():
        latency, accuracy = row.latency_ms, row.accuracy
        table.add_row(
            escape(name),
            escape(row.architecture_short),
            row.precision,
            number(accuracy.float32, 4),
            number(accuracy.delivered, 4),
            number(latency.predicted),
            number(latency.measured),
            interval(latency.interval),
            _budget(latency),
            number(row.size_bytes / 1e6, 2),
            f"[{COLOURS[row.verdict]}]{row.verdict}[/]",
            escape(row.bundle),
        )
    return table


def print_summary(console: Console, summaries: Summaries) -> None:
    """Print the table, and the reasons for every bundle held back or undecided."""
    if not summaries:
        return
    print_table(console, summary_table(summaries))
    for name, reasons in {**undecided(summaries), **held_back(summaries)}.items():
        for reason in reasons:
            console.print(f"{name}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _budget(latency: Latency) -> str:
    """The latency budget in milliseconds, with its share if it was given as one."""
    text, share = number(latency.budget), latency.share
    return text if share is None else f"{text} ({share:g})"


def number(value: float | None, digits: int = 3) -> str:
    """A number with this many decimals; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """An interval with this many decimals; a dash for None."""
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
