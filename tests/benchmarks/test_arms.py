"""What the benchmarks of the final training stand on; their numbers are for whoever runs them."""

from pathlib import Path

import pytest

from benchmarks.arms import Ledger, paired
from benchmarks.baselines import WIDTHS, widest


def test_differences_are_taken_seed_by_seed_with_students_interval() -> None:
    found = paired([0.91, 0.93, 0.95], [0.90, 0.91, 0.92])
    assert found.mean == pytest.approx(0.02)
    assert found.std == pytest.approx(0.01)
    reach = 4.302653 * 0.01 / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.02 - reach, 0.02 + reach))
    assert found.verdict == "undecided"
    assert paired([0.91, 0.92, 0.93], [0.81, 0.82, 0.83]).verdict == "better"
    assert paired([0.81, 0.82, 0.83], [0.91, 0.92, 0.93]).verdict == "worse"


def test_a_stopped_benchmark_does_nothing_twice(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> dict[str, float]:
        calls.append("work")
        return {"accuracy": 0.5}

    for _ in range(2):
        assert Ledger(tmp_path / "ledger.json").get("a", work) == {"accuracy": 0.5}
    assert calls == ["work"]


@pytest.mark.parametrize(
    ("slope", "width"), [(1.0, 1.0), (0.5, 2.0), (4.0, 0.25), (100.0, 0.05), (0.1, 2.0)]
)
def test_the_widest_network_that_is_fast_enough_is_found(slope: float, width: float) -> None:
    found, ratio = widest(lambda w: slope * w, WIDTHS)
    assert found == pytest.approx(width)
    assert ratio == pytest.approx(slope * width)
