import numpy as np
import pytest

from core.errors import UserError
from models.search.problem import as_choices
from models.search.proposals.band import Band, band_of
from models.search.proposals.guided import Trained, fit, propose
from models.search.proposals.numbers import layers, network_numbers
from models.space.block_tables import ChoicesNG
from models.space.costs import flops, parameters
from models.space.distribution import Choices, Vector
from models.space.file import PRESETS
from models.space.groups import single
from models.space.limits import Limit
from models.space.space import SearchSpace

GROUPS = tuple(single(f"g{i}", "v", ("a", "b", "c")) for i in range(7))
WORTH = np.random.default_rng(5).normal(size=(7, 3))
BAND = Band(GROUPS, lambda choices_NG: choices_NG.sum(1) / 14, 0.5, 0.7)


def numbers(choices_NG: ChoicesNG) -> Vector:
    return np.stack([(choices_NG == 0).sum(1), choices_NG.sum(1)], axis=1).astype(float)


def loss(choices: Choices) -> float:
    return 2.0 - 0.1 * float(WORTH[np.arange(7), np.array(choices)].sum())


def trained(count: int, seed: int = 0, recipe: int = 0, steps: int = 100) -> list[Trained]:
    rows = BAND.sample(np.random.default_rng(seed), count)
    return [Trained(choices, loss(choices), steps, recipe) for choices in rows]


def after(count: int, seed: int) -> float:
    """The best loss after 6 random trainings and `count` guided ones."""
    done, rng = trained(6, seed), np.random.default_rng(seed)
    for _ in range(count // 2):
        done += [Trained(c, loss(c), 100) for c in propose(done, BAND, numbers, rng, 2, 100)]
    return min(one.value for one in done)


def test_proposals_are_new_distinct_in_the_band_and_fixed_by_the_generator() -> None:
    done = trained(8)
    found = propose(done, BAND, numbers, np.random.default_rng(0), 5, 100)
    assert found == propose(done, BAND, numbers, np.random.default_rng(0), 5, 100)
    assert len(set(found)) == 5
    assert not set(found) & {one.choices for one in done}
    assert all(BAND.contains(choices) for choices in found)


def test_guided_trainings_beat_as_many_random_ones() -> None:
    guided = [after(6, seed) for seed in range(5)]
    chance = [min(one.value for one in trained(12, seed)) for seed in range(5)]
    assert np.mean(guided) < np.mean(chance)
    best = min(loss(choices) for choices in BAND.sample(np.random.default_rng(0), 5000))
    assert np.mean(guided) - best < 0.8 * (np.mean(chance) - best)


def test_a_whole_band_is_proposed_and_then_nothing() -> None:
    small = Band(GROUPS[:2], lambda choices_NG: choices_NG.sum(1) / 4, 0.75, 1.0)
    done = [Trained((2, 2), 1.0, 10)]
    found = propose(done, small, numbers, np.random.default_rng(0), 9, 10)
    assert sorted(found) == [(1, 2), (2, 1)]
    done += [Trained(choices, 1.0, 10) for choices in found]
    assert propose(done, small, numbers, np.random.default_rng(0), 9, 10) == []


def test_a_network_of_another_recipe_may_be_trained_again() -> None:
    small = Band(GROUPS[:2], lambda choices_NG: choices_NG.sum(1) / 4, 0.75, 1.0)
    other = [Trained(choices, float(sum(choices)), 10, recipe=1) for choices in [(1, 2), (2, 1)]]
    found = propose(
        [*other, Trained((2, 2), 1.0, 10)], small, numbers, np.random.default_rng(0), 9, 10
    )
    assert sorted(found) == [(1, 2), (2, 1)]


def test_a_short_training_predicts_a_whole_one_with_less_certainty() -> None:
    pool_NG = as_choices(BAND.sample(np.random.default_rng(1), 100))
    whole = fit(trained(20), BAND, numbers, pool_NG, 100).predict(pool_NG)[1]
    short = fit(trained(20, steps=25), BAND, numbers, pool_NG, 100).predict(pool_NG)[1]
    assert short.mean() > whole.mean()


def test_a_training_of_no_steps_is_refused() -> None:
    with pytest.raises(UserError, match="steps"):
        propose(trained(3, steps=0), BAND, numbers, np.random.default_rng(0), 1, 100)


@pytest.mark.slow
def test_a_device_of_the_compact_space_gets_proposals() -> None:
    space = SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)
    rng, of = np.random.default_rng(0), network_numbers(space)
    limits = [Limit("flops", 3e6, flops), Limit("parameters", 90e3, parameters)]
    band = band_of(space, limits, rng)
    assert band is not None
    rows = band.sample(rng, 10)
    deep = [Trained(row, 20.0 - float(of(as_choices([row]))[0, 0]), 500) for row in rows]
    for choices in propose(deep, band, of, rng, 2, 500):
        one = space.architecture(choices)
        assert 0.9 <= max(limit.cost(one) / limit.budget for limit in limits) <= 1
        assert layers(one) >= max(20 - best.value for best in deep) - 1
