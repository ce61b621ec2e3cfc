import numpy as np
import pytest

from models.search.problem import as_choices
from models.search.proposals.band import Band, band_of, ratio_table
from models.space.block_tables import ChoicesNG
from models.space.costs import flops, parameters
from models.space.distribution import Choices, Vector
from models.space.file import PRESETS
from models.space.groups import Group, single
from models.space.limits import Limit
from models.space.space import SearchSpace

GROUPS: tuple[Group, ...] = tuple(single(f"g{i}", "v", (1, 2, 3)) for i in range(6))


def share(choices_NG: ChoicesNG) -> Vector:
    return choices_NG.sum(1) / 12


BAND = Band(GROUPS, share, 0.74, 0.84)


def members(band: Band) -> list[Choices]:
    rows = np.indices(band.sizes).reshape(len(band.sizes), -1).T
    return [tuple(map(int, row)) for row in rows if band.contains(tuple(map(int, row)))]


@pytest.fixture(scope="module")
def compact() -> SearchSpace:
    return SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)


def test_a_sample_is_distinct_in_the_band_and_fixed_by_the_generator() -> None:
    found = BAND.sample(np.random.default_rng(0), 20)
    assert found == BAND.sample(np.random.default_rng(0), 20)
    assert found != BAND.sample(np.random.default_rng(1), 20)
    assert len(set(found)) == 20
    assert all(BAND.contains(choices) for choices in found)


def test_a_sample_larger_than_the_band_is_the_whole_band() -> None:
    assert sorted(BAND.sample(np.random.default_rng(0), 1000)) == members(BAND)


@pytest.mark.parametrize("how", ["enumerated", "rejected", "walks"])
def test_samples_are_uniform_over_the_band(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "rejected":
        monkeypatch.setattr("models.search.proposals.band._ENUMERATED", 0)
    rng, inside = np.random.default_rng(0), members(BAND)
    counts = dict.fromkeys(inside, 0)
    draws = BAND.walk(rng, 6000).tolist() if how == "walks" else []
    for _ in range(0 if how == "walks" else 6000):
        draws += BAND.sample(rng, 1)
    for row in draws:
        counts[tuple(row)] += 1
    expected = 6000 / len(inside)
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    freedom = len(inside) - 1
    assert abs(chi2 - freedom) < 4 * (2 * freedom) ** 0.5


def test_walks_reach_a_band_that_rejection_never_meets() -> None:
    groups = tuple(single(f"g{i}", "v", tuple(range(10))) for i in range(12))
    band = Band(groups, lambda choices_NG: choices_NG.sum(1) / 108, 0.98, 1.0)  # 1 of 10^9
    assert (band.walk(np.random.default_rng(0), 64).sum(1) >= 106).mean() > 0.5
    assert len(band.sample(np.random.default_rng(0), 5)) == 5


def test_an_empty_band_has_no_samples() -> None:
    band = Band(GROUPS, share, 0.76, 0.82)  # between 9 and 10 of 12
    assert band.sample(np.random.default_rng(0), 3) == []
    assert band.climb((0,) * 6, share, np.random.default_rng(0)) is None


def test_a_climb_finds_the_best_of_the_band_from_outside() -> None:
    worth = np.random.default_rng(3).normal(size=(6, 3))

    def score(choices_NG: ChoicesNG) -> Vector:
        return worth[np.arange(6), choices_NG.astype(int)].sum(1)

    inside = members(BAND)
    best = inside[int(np.argmax(score(as_choices(inside))))]
    found = {BAND.climb(start, score, np.random.default_rng(0)) for start in [(0,) * 6, (2,) * 6]}
    assert found == {best}


def test_a_ratio_is_that_of_the_tightest_budget(compact: SearchSpace) -> None:
    limits = [Limit("flops", 4e6, flops), Limit("parameters", 60e3, parameters)]
    rows = compact.choices(compact.sample(np.random.default_rng(0)))
    one = compact.architecture(rows)
    expected = max(flops(one) / 4e6, parameters(one) / 60e3)
    assert ratio_table(compact, limits)(as_choices([rows]))[0] == expected


@pytest.mark.slow
def test_the_band_ends_where_the_space_ends(compact: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    most = flops(compact.extreme(flops.block, largest=True))
    band = band_of(compact, [Limit("flops", 2 * most, flops)], rng)
    assert band is not None
    assert (band.low, band.high) == (0.45, 0.5)
    assert band_of(compact, [Limit("flops", 1.0, flops)], rng) is None


def test_without_budgets_every_network_is_in_the_band(compact: SearchSpace) -> None:
    band = band_of(compact, [], np.random.default_rng(0))
    assert band is not None
    assert band.contains((0,) * len(compact.groups))
