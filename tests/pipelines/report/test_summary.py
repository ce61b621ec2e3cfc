"""The summary at the end of a run, on terminals of any width."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from bundles.summary import BundleSummary
from pipelines.report.summary import find_imprecise, held_back, print_summary, undecided
from pipelines.tables import print_table
from tests.summaries import bundle_summary
from tests.support import ROOT

NUMBERS = ("0.9148", "0.9146", "0.064", "0.068", "0.066 to 0.070", "0.090 (0.4)", "0.80")


def shown(summaries: dict[str, BundleSummary], width: int | None) -> str:
    """The summary on a terminal of this width; None: in a pipe."""
    file = io.StringIO()
    terminal = {} if width is None else {"force_terminal": True, "width": width}
    print_summary(Console(file=file, color_system=None, **terminal), summaries)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200, None])
def test_numbers_and_verdicts_are_never_cut(width: int | None) -> None:
    text = shown(
        {
            "edge-cpu": bundle_summary(),
            "a-second-device": bundle_summary(passed=False, reasons=("no",)),
        },
        width,
    )
    assert "…" not in text
    for word in (*NUMBERS, "edge-cpu", "a-second-device", "passed", "held back"):
        assert word in " ".join(text.split()), text  # lines may break between words
    if width is not None:
        lines = text.removesuffix("a-second-device: no\n").splitlines()
        assert max(len(line) for line in lines) <= width
        # The folded parts add up to the whole text.
        whole = "".join(line.strip() for line in lines)
        assert width > 100 or "artifacts/bundle/edge-cpu/edge-cpu.tar.gz" in whole


def test_a_table_is_one_where_it_fits_and_blocks_where_it_does_not() -> None:
    def table() -> Table:
        made = Table("name", "size MB", "what it is")
        made.columns[2].overflow = "fold"
        made.add_row("[b]a[/]", "12345678", "some words that may be folded, as many as there are")
        return made

    for width, blocks in ((24, True), (60, False)):
        file = io.StringIO()
        terminal = Console(file=file, force_terminal=True, width=width, color_system=None)
        print_table(terminal, table())
        assert ("size MB: 12345678" in file.getvalue()) == blocks
        assert "12345678" in file.getvalue()


def test_an_undecided_bundle_passes_with_verdict_and_reason() -> None:
    why = "latency 0.068 ms is undecided"
    open_ = bundle_summary(reasons=(why,), undecided=(why,))
    assert open_.verdict == "undecided"
    assert bundle_summary(passed=False, undecided=(why,)).verdict == "held back"
    assert held_back({"x": open_}) == {}
    assert undecided({"x": open_, "y": bundle_summary()}) == {"x": [why]}
    text = shown({"x": open_}, 80)
    assert "verdict: undecided" in text
    assert f"x: {why}" in text


def test_strict_holds_back_undecided_and_imprecise_latencies() -> None:
    away = {"predicted": None, "measured": None, "interval": None, "budget": None, "share": None}
    summaries = {
        "open": bundle_summary(undecided=("it is undecided",)),
        "fine": bundle_summary(),
        "away": bundle_summary(latency_ms=away),
    }
    assert find_imprecise(summaries, 0.05) == {"open": "it is undecided"}
    rough = find_imprecise(summaries, 0.01)
    assert rough.keys() == {"open", "fine"}
    assert rough["fine"].startswith("latency 0.068 ms has an interval half-width of 2.9%")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_a_character_shows_its_code(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "verify", "\U0001f34e"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'\\U0001f34e' does not exist" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
