"""The comparison of ways of choosing whom to train really; with the published table its claim."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tabular.race import ARMS, SHOWN, World, regrets
from benchmarks.tabular.race_report import Raced, floor, race_picture, race_section
from benchmarks.tabular.table import Table

TABLE = "NETWRIGHT_NAS_BENCH_MACRO"
BUDGET = 50e6

given = pytest.mark.skipif(TABLE not in os.environ, reason=f"{TABLE}: the table is not given")


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_an_arm_trains_distinct_networks_of_the_band(arm: str, invented: Table) -> None:
    world = World(invented, BUDGET, 3)
    done = ARMS[arm](world, 12)
    assert done == ARMS[arm](World(invented, BUDGET, 3), 12)
    assert done != ARMS[arm](World(invented, BUDGET, 4), 12)
    assert len({choices for choices, _ in done}) == 12
    for choices, error in done:
        assert 0.9 * BUDGET <= invented.flops_A[invented.number(choices)] <= BUDGET
        assert error == world.train(choices)


def test_an_answer_is_judged_by_the_trainings_that_were_not_shown(invented: Table) -> None:
    world, number = World(invented, BUDGET, 0), 1234
    choices = tuple(
        int(digit)
        for digit in np.unravel_index(number, [len(g.candidates) for g in invented.space.groups])
    )
    shown = 100.0 - world.train(choices)
    trainings = invented.accuracies_AT[number]
    assert shown in trainings
    hidden = invented.best(BUDGET) - world.regret(choices)
    assert 2 * hidden + shown == pytest.approx(trainings.sum())


def test_the_floor_is_zero_where_two_trainings_order_all_networks(invented: Table) -> None:
    assert floor(invented, BUDGET) == pytest.approx(0.0, abs=0.3)
    assert World(invented, BUDGET, 0).regret(tuple([0] * len(invented.space.groups))) > 5


def test_the_page_states_the_goal_and_every_arm() -> None:
    rng = np.random.default_rng(0)
    values = {arm: rng.uniform(0.1, 0.2, size=(5, len(SHOWN))) for arm in ARMS}
    one = Raced(BUDGET, 782, 92.17, 0.1, values)
    page = race_section([one], range(5), "picture.png")
    assert "met." in page
    assert all(f"| `{arm}` |" in page for arm in ARMS)
    missed = Raced(BUDGET, 782, 92.17, 0.1, values | {"race": values["race"] + 1})
    assert "missed." in race_section([missed], range(5), None)
    assert race_picture([one, missed]).startswith(b"\x89PNG")


@given
@pytest.mark.slow
def test_twelve_real_trainings_come_within_half_a_point() -> None:
    table = Table.load(Path(os.environ[TABLE]))
    found = [regrets("race", World(table, BUDGET, seed), (12,))[0] for seed in range(200, 210)]
    assert np.mean(found) <= 0.6
