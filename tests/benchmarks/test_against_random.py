"""Answers of races against random networks: intervals, and a whole run on digits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from benchmarks.against_random import __main__ as against_random
from benchmarks.against_random.halving import best_at_the_end, describe, race_on_paper
from benchmarks.against_random.report import Gap
from models.search.race.settings import RaceParams
from tests.benchmarks.conftest import SPACE, write_digits


def test_the_interval_is_welchs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, size=8).tolist(), rng.normal(0, 1, size=12).tolist()
    found = Gap.of(a, b)
    expected = ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_an_interval_holds_the_true_gap_in_19_of_20_cases() -> None:
    rng = np.random.default_rng(0)
    gaps = [
        Gap.of(rng.normal(1, 0.5, 8).tolist(), rng.normal(0, 1.5, 12).tolist()) for _ in range(400)
    ]
    covered = np.mean([gap.low <= 1 <= gap.high for gap in gaps])
    assert covered == pytest.approx(0.95, abs=0.025)


def test_too_few_runs_decide_nothing() -> None:
    assert Gap.of([50.0], [40.0, 41.0]).verdict == "undecided: too few runs"
    assert Gap.of([50.0, 51.0], [40.0, 41.0]).verdict == "ahead of random"
    assert Gap.of([40.0, 41.0], [50.0, 51.0]).verdict == "behind random"
    assert Gap.of([40.0, 50.0], [41.0, 47.0]).verdict == "undecided"


def row(name: str, nlls: Sequence[float], accuracy: float = 0.5) -> dict[str, Any]:
    steps = ("2", "4", "8", "16")
    return {
        "architecture_id": name,
        "nll": dict(zip(steps, nlls, strict=True)),
        "test_accuracy": accuracy,
    }


def test_a_race_on_paper_costs_what_its_rungs_cost_and_may_lose_the_best() -> None:
    late = row("late", [0.9, 0.8, 0.5, 0.1], 0.9)
    rows = [row(name, [n / 10] * 4) for n, name in enumerate("abcdefg", start=2)] + [late]
    answer, cost = race_on_paper(rows, RaceParams())
    assert answer["architecture_id"] == "a"
    assert best_at_the_end(rows) is late
    # 8 networks for 2 of 16 steps, 4 for 2 more, 2 for 4 more, 1 for the last 8.
    assert cost == pytest.approx((8 * 2 + 4 * 2 + 2 * 4 + 1 * 8) / 16)
    assert cost / 8 < 1 / 3


def test_the_loss_is_the_difference_of_the_answers_test_accuracies() -> None:
    rows = [row(name, [n / 10] * 4) for n, name in enumerate("abc", start=2)]
    rows.append(row("late", [0.9, 0.8, 0.5, 0.1], 0.9))
    text = describe(rows, RaceParams())
    assert "| 4 | 1 | 38% | 0% | +40.00 |" in text
    assert "+0.00 after 2 of 16 steps" in text


@pytest.mark.slow
def test_a_whole_run_compares_answers_with_random_networks_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "data")
    (tmp_path / "space.yaml").write_text(SPACE)
    flags = {"space": "space.yaml", "data": "data", "work": "work", "out": "page.md"}
    given = [f"--{name}={tmp_path / file}" for name, file in flags.items()]
    given += ["--budget=0.03", "--answers=2", "--random=2", "--epochs=0.5", "--steps=2"]
    given += ["--candidates=4", "--from-search=1", "--guided=1", "--rank-images=50"]
    monkeypatch.setattr("sys.argv", ["against_random", *given, "--name=digits", "--part=1/2"])
    against_random.main()
    assert "Unfinished: 1 of 2 answers and 1 of 2 random" in (tmp_path / "page.md").read_text()
    monkeypatch.setattr("sys.argv", ["against_random", *given, "--name=digits"])
    against_random.main()
    page = (tmp_path / "page.md").read_text()
    assert "Unfinished" not in page
    assert "## `space`, 0.03 MMACs, digits" in page
    assert "| control | 4 |" in page
    assert "| guided | 2 |" in page
    for name in ("raced_answer", "random_answer"):
        monkeypatch.setattr(against_random, name, lambda *_: pytest.fail("trained again"))
    against_random.main()
    assert (tmp_path / "page.md").read_text() == page
