"""Noise of training and lead over random networks: by hand, by properties and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.search.race.noise import Lead, lead, seed_noise

ACCURACIES = st.lists(st.floats(0, 1), min_size=2, max_size=6)


def test_noise_is_the_root_mean_square_of_the_differences() -> None:
    assert seed_noise([]) is None
    assert seed_noise([(1.0, 1.5)]) == 0.5
    assert seed_noise([(1.0, 1.5), (2.0, 1.0)]) == pytest.approx(math.sqrt((0.25 + 1) / 2))


def test_noise_estimates_the_deviation_of_a_difference() -> None:
    """Two trainings of deviation s differ by a deviation of s times the square root of 2."""
    draws = np.random.default_rng(0).normal(1.0, 0.1, (4000, 2))
    found = seed_noise([(float(a), float(b)) for a, b in draws])
    assert found == pytest.approx(0.1 * math.sqrt(2), rel=0.05)


def test_the_lead_over_two_controls_by_hand() -> None:
    """s^2 = (1 + 1) / 1 points^2; s^2 (1 + 1/2) = 3; Student's t of 1 degree is 12.706."""
    found = lead(0.85, {"one": [0.80, 0.82]}, "one", 100)
    assert found is not None
    assert found.points == pytest.approx(4.0)
    half = 12.7062 * math.sqrt(3)
    assert found.low == pytest.approx(4 - half, abs=1e-3)
    assert found.high == pytest.approx(4 + half, abs=1e-3)
    assert (found.controls, found.steps) == (2, 100)


def test_the_deviation_is_pooled_over_devices_about_their_own_means() -> None:
    """Deviations of 1 point about both means: 2 + 2 over 2 degrees; t of 2 degrees is 4.303."""
    controls = {"one": [0.80, 0.82], "two": [0.50, 0.52], "three": [0.3], "four": []}
    found = lead(0.83, controls, "one", 100)
    assert found is not None
    assert found.points == pytest.approx(2.0)
    assert found.high == pytest.approx(2 + 4.30265 * math.sqrt(2 * 1.5), abs=1e-3)


def test_without_controls_there_is_no_lead_and_with_one_no_interval() -> None:
    assert lead(0.9, {"one": [], "two": [0.8, 0.9]}, "one", 10) is None
    assert lead(0.9, {}, "one", 10) is None
    alone = lead(0.9, {"one": [0.8]}, "one", 10)
    assert alone == Lead(pytest.approx(10.0), None, None, 1, 10)
    assert "too few for an interval" in alone.describe()


@given(st.floats(0, 1), ACCURACIES, ACCURACIES)
def test_an_interval_has_the_difference_in_its_middle(
    winner: float, own: list[float], other: list[float]
) -> None:
    found = lead(winner, {"one": own, "two": other}, "one", 10)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.points <= found.high
    assert found.points - found.low == pytest.approx(found.high - found.points, abs=1e-9)
    assert found.points == pytest.approx(100 * (winner - np.mean(own)), abs=1e-9)


@given(ACCURACIES)
def test_a_winner_like_its_controls_is_not_ahead(own: list[float]) -> None:
    found = lead(float(np.mean(own)), {"one": own}, "one", 10)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 1e-9
    assert found.high >= -1e-9


@pytest.mark.parametrize("devices", [1, 3])
def test_the_interval_covers_the_true_difference_in_95_of_100_races(devices: int) -> None:
    rng = np.random.default_rng(0)
    inside, races = 0, 2000
    for _ in range(races):
        controls = {str(d): rng.normal(0.8 - 0.1 * d, 0.004, 2).tolist() for d in range(devices)}
        found = lead(float(rng.normal(0.81, 0.004)), controls, "0", 10)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 1.0 <= found.high
    assert inside / races == pytest.approx(0.95, abs=0.015)


def test_what_is_said_of_a_lead() -> None:
    ahead = Lead(1.234, 0.5, 1.968, 2, 10).describe()
    assert ahead == "ahead of random in the band by 1.23 points (0.50 to 1.97)"
    assert Lead(1.0, -0.5, 2.5, 2, 10).describe().endswith("(-0.50 to 2.50, undecided)")
    assert "undecided" not in Lead(-2.0, -3.0, -1.0, 2, 10).describe()
