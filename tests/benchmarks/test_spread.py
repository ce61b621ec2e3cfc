"""Networks of a band, and what the spread of their accuracies says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.presets import COMPACT
from benchmarks.spread import __main__ as spread
from benchmarks.spread.band import draw
from benchmarks.spread.report import Spread, Trained, report
from models.space.costs import depth, flops
from models.space.space import SearchSpace
from tests.benchmarks.conftest import SPACE, write_digits

BAND = (2.7e6, 3e6)


def drawn(values: np.ndarray, noise: float, seeds: int = 2) -> list[list[float]]:
    """Accuracies of networks with these values, and noise of every seed."""
    rng = np.random.default_rng(1)
    return (values[:, None] + noise * rng.normal(size=(len(values), seeds))).tolist()


def test_networks_are_of_the_band_and_fewer_are_the_first_of_more() -> None:
    space = COMPACT.load()
    networks = draw(space, *BAND, 12)
    assert len(set(networks)) == 12
    assert all(2.7e6 <= flops(one) <= 3e6 for one in networks)
    assert draw(space, *BAND, 5) == networks[:5]


def test_a_band_without_networks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.spread.band._DRAWS", 2)
    with pytest.raises(ValueError, match=r"0 of 20,000 random networks of space 'compact' have 9"):
        draw(COMPACT.load(), 9e8, 1e9, 3)


def test_mean_squares_and_intervals_equal_hand_counts() -> None:
    found = Spread.of([[0.5, 0.52], [0.6, 0.56], [0.7, 0.7]])
    assert found.within == pytest.approx((2 * 0.01**2 + 2 * 0.02**2) / 3)
    assert found.between == pytest.approx(2 * np.var([0.51, 0.58, 0.7], ddof=1))
    assert (found.seeds, found.degrees) == (pytest.approx(2), (2, 3))
    ratio = found.between / found.within
    value, low, high = found.shares()
    assert value == pytest.approx((ratio - 1) / 2)
    # Fisher's quantiles for 2 and 3 degrees of freedom: 16.04, and 39.17 for 3 and 2.
    assert low == pytest.approx((ratio / 16.044 - 1) / 2, rel=1e-3)
    assert high == pytest.approx((ratio * 39.165 - 1) / 2, rel=1e-3)
    assert found.spread()[0] == pytest.approx(found.noise * value**0.5)
    uneven = Spread.of([[0.5, 0.52], [0.6], [0.7]])
    assert uneven.degrees == (2, 1)
    assert uneven.seeds == pytest.approx((4 - 6 / 4) / 2)


def test_a_test_of_mean_squares_is_right_in_one_of_twenty_cases() -> None:
    rng = np.random.default_rng(0)
    chances = [
        Spread.of([*rng.normal(size=(5, 2)).tolist(), *rng.normal(size=(10, 1)).tolist()]).chance()
        for _ in range(400)
    ]
    assert np.mean(np.array(chances) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_a_wide_spread_is_seen_and_pure_noise_is_not() -> None:
    values = 0.6 + 0.03 * np.random.default_rng(0).normal(size=20)
    seen = Spread.of(drawn(values, 0.004))
    assert seen.verdict == "networks of equal cost differ by more than seeds do"
    low, high = seen.spread()[1:]
    assert low < 0.03 < high
    noise = Spread.of(drawn(np.full(20, 0.6), 0.004))
    assert "networks" not in noise.verdict
    assert noise.spread()[1] == 0
    assert noise.chance() > 0.05


def test_the_report_says_which_number_orders_the_networks() -> None:
    networks = draw(COMPACT.load(), *BAND, 20)
    deep = np.array([0.5 + 0.01 * depth(one) for one in networks])
    text = report(COMPACT.load(), Trained(networks, drawn(deep, 1e-6)))
    row = next(line for line in text.splitlines() if line.startswith("| depth |"))
    assert float(row.split("|")[4]) > 0.75  # networks of one depth are in random order
    # Neither resolution nor strides are searched.
    assert next(line for line in text.splitlines() if "| resolution |" in line).endswith(
        "| - | - |"
    )
    assert "resolution and strides" not in text


STRIDES = SPACE.replace("channels: 4, stride: 2,", "channels: 4,").replace(
    "stride: 2, ", ""
).replace("stride: 1, ", "").replace(
    "stem:", "strides: [[1, 2, 1], [2, 1, 2]]\nresolution_shares: [0.5, 1.0]\nstem:"
)  # fmt: skip


@pytest.mark.slow
def test_a_whole_run_resumes_and_reports_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "data")
    (tmp_path / "space.yaml").write_text(STRIDES)
    flags = {"space": "space.yaml", "data": "data", "work": "work", "out": "page.md"}
    given = [f"--{name}={tmp_path / file}" for name, file in flags.items()]
    small = ["--budget=0.03", "--least=0.2", "--networks=4", "--repeated=2", "--epochs=0.5"]
    monkeypatch.setattr("sys.argv", ["spread", *given, *small, "--name=digits"])
    spread.main()
    page = (tmp_path / "page.md").read_text()
    assert "## `space`, 0.03 MMACs, digits" in page
    assert "| resolution=8,strides=1-2-1 |" in page
    space = SearchSpace.load(tmp_path / "space.yaml", (1, 16, 16), 10)
    runs = sorted(file.stem for file in (tmp_path / "work").glob("*/*.json"))
    networks = draw(space, 0.006e6, 0.03e6, 4)
    names = [f"{one.id}-seed0" for one in networks] + [f"{one.id}-seed1" for one in networks[:2]]
    assert runs == sorted(names)
    monkeypatch.setattr(spread, "train_network", None)  # nothing is trained again
    spread.main()
    assert (tmp_path / "page.md").read_text() == page
