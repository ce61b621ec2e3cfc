"""What the benchmark of trainings per hour counts, and that both arms train the same."""

import sys
from pathlib import Path

import pytest

from benchmarks.throughput.__main__ import main, page, per_hour
from benchmarks.throughput.training import Span


def test_the_time_is_from_the_first_start_to_the_last_end() -> None:
    spans = [Span(100.0, 130.0, 1.0), Span(110.0, 160.0, 1.0), Span(131.0, 150.0, 1.0)]
    assert per_hour(spans) == 3600 * 3 / 60


def test_the_ratio_is_the_geometric_mean_of_the_repetitions() -> None:
    text = page({4_000_000: [[20.0, 10.0], [80.0, 10.0], [40.0, 10.0]]}, 2)
    assert "| 4.0 | 46.7 ± 30.6 | 10.0 ± 0.0 | 4.00 |" in text
    assert text.endswith("| undecided |")
    assert "| faster |" in page({1: [[20.0, 10.0], [20.2, 10.0], [19.8, 10.0]]}, 2)
    assert "| undecided |" in page({1: [[20.0, 10.0]]}, 2)


@pytest.mark.slow
def test_a_small_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "throughput.md"
    flags = "--networks 1 --repetitions 2 --trainings 1 --steps 2 --batch 8"
    monkeypatch.setattr(sys, "argv", ["throughput", *flags.split(), "--out", str(out)])
    main()
    text = out.read_text()
    assert text.startswith("# Trainings per hour\n\n## One training per core\n")
    assert flags in text
