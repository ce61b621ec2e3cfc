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


def drawn(values: np.ndarray, noise: float, seeds: int = 5) -> Trained:
    """Random networks with accuracies that are given values and noise."""
    rng, networks = np.random.default_rng(1), draw(COMPACT.load(), *BAND, len(values))
    first = values + noise * rng.normal(size=len(values))
    again = [(a, v + noise * rng.normal()) for a, v in zip(first, values, strict=True)][:seeds]
    return Trained(networks, first.tolist(), [tuple(map(float, row)) for row in again])


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


def test_noise_is_pooled_over_seeds_and_the_interval_is_fishers() -> None:
    networks = draw(COMPACT.load(), *BAND, 3)
    found = Spread.of(Trained(networks, [0.5, 0.6, 0.7], [(0.5, 0.52), (0.6, 0.56)]))
    assert found == Spread(pytest.approx(0.1), 2, pytest.approx((0.001 / 2) ** 0.5), 2)
    ratio, low, high = found.ratio()
    assert ratio == pytest.approx(20)
    assert (low, high) == (pytest.approx(20 / 39), pytest.approx(20 * 39))
    value, least, most = found.true_spread()
    assert value == pytest.approx((0.01 - 0.0005) ** 0.5)
    assert least == 0 < value < most


def test_a_wide_spread_is_seen_and_pure_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    values = 0.6 + 0.03 * rng.normal(size=20)
    assert "differ by more than seeds do" in Spread.of(drawn(values, 0.004)).verdict
    noise = Spread.of(drawn(np.full(20, 0.6), 0.004))
    assert "more than" not in noise.verdict
    assert noise.true_spread()[1] == 0


def test_the_report_says_which_number_orders_the_networks() -> None:
    networks = draw(COMPACT.load(), *BAND, 20)
    deep = np.array([0.5 + 0.01 * depth(one) for one in networks])
    text = report(COMPACT.load(), drawn(deep, 1e-6))
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
