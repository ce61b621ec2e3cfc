"""What devices propose for a race: within their budgets, in their band, and shared."""

from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import UserError
from devices.device import Budget, Device
from devices.fleet.members import Member
from devices.fleet.proposals import contests, guided, tightest
from models.search.race.contest import CONTROL, Contest
from models.search.race.ledger import Entry, Ledger, Recipe
from models.search.race.settings import RaceParams
from models.search.race.training import Standing
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters
from models.space.limits import Limit
from models.space.space import SearchSpace
from tests.spaces import sample_choices
from tests.support import ROOT

SPACE = SearchSpace.load(ROOT / "models" / "spaces" / "compact.yaml", (1, 28, 28), 10)
RECIPE = Recipe(data="a", training="b", steps=100)


def member(name: str, budget: int, ranked: Sequence[Architecture] = ()) -> Member:
    """A device with a budget of multiply-accumulates."""
    device = Device(backend="tensorrt", budget=Budget(flops=budget), min_accuracy=0.5)
    limits = (Limit("flops", budget, flops),)

    def costs(architecture: Architecture) -> dict[str, float | None]:
        return {"latency_ms": None, "flops": flops(architecture)}

    return Member(name, device, SPACE, limits, costs, tuple(ranked), "supernet_accuracy", None)


def drawn(count: int, most: int) -> list[Architecture]:
    """Random networks within a budget."""
    rows = sample_choices(SPACE, 200, np.random.default_rng(1))
    networks = [SPACE.architecture(row) for row in rows]
    return [network for network in networks if flops(network) <= most][:count]


def params(**changes: object) -> RaceParams:
    return RaceParams.model_validate({"candidates": 8, "from_search": 2, **changes})


def test_a_device_proposes_networks_within_its_budget_and_controls_of_its_band() -> None:
    one = member("one", 3_000_000, drawn(5, 3_000_000))
    (contest,) = contests([one], params(), None)
    assert len(contest.networks) == 8
    assert all(flops(network) <= 3_000_000 for network in contest.networks)
    assert [n.id for n in contest.networks[:2]] == [n.id for n in one.ranked[:2]]
    assert len(contest.controls) == 2
    assert all(flops(network) / 3_000_000 >= 0.9 for network in contest.controls)
    by_origin = {origin: n for n in contest.networks for origin in contest.origins(n)}
    rows = sample_choices(SPACE, 300, np.random.default_rng(2))
    within = [n for n in map(SPACE.architecture, rows) if flops(n) <= 3_000_000]
    assert depth(by_origin["deepest"]) >= max(map(depth, within))
    assert flops(by_origin["largest"]) >= max(map(flops, within))


def test_proposals_are_the_same_in_every_run_and_differ_by_seed() -> None:
    one = member("one", 2_500_000, drawn(3, 2_500_000))

    def ids(seed: int) -> list[str]:
        return [n.id for n in contests([one], params(seed=seed), None)[0].networks]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_what_another_device_proposes_counts_if_it_fits() -> None:
    ranked = drawn(4, 2_800_000)
    first, second = member("first", 2_800_000, ranked), member("second", 3_000_000, ranked)
    both = contests([first, second], params(), None)
    own = {network.id for network in both[0].networks}
    new = [network for network in both[1].networks if network.id not in own]
    assert len(new) <= 3  # one device's controls, deepest, ... serve the other
    assert both[1].controls
    assert all(flops(network) <= 3_000_000 for network in both[1].networks)
    # A device with far less sees none of them.
    third = contests([first, member("third", 2_000_000, drawn(3, 2_000_000))], params(), None)[1]
    assert all(flops(network) <= 2_000_000 for network in third.networks)
    assert len(third.networks) == 8


def ledger(winner: Architecture) -> Ledger:
    standing = Standing(steps=100, nll=0.5, accuracy=0.8, indicators={})
    entry = Entry(
        architecture=winner,
        architecture_id=winner.id,
        repeat=0,
        recipe=RECIPE,
        standings=(standing,),
        reused=False,
    )
    return Ledger(recipe=RECIPE, entries=(entry,), winners={"one": winner.id})


def test_the_winner_of_an_earlier_race_takes_part_if_its_device_still_allows_it() -> None:
    fits, too_large = drawn(1, 2_800_000)[0], SPACE.extreme(flops.block, largest=True)
    one = member("one", 2_800_000, drawn(3, 2_800_000)[1:])

    def origins(contest: Contest) -> set[str]:
        return {origin for n in contest.networks for origin in contest.origins(n)}

    assert "earlier winner" in origins(contests([one], params(), ledger(fits))[0])
    assert "earlier winner" not in origins(contests([one], params(), ledger(too_large))[0])


def test_a_tie_is_decided_by_the_latency_where_it_is_known() -> None:
    small, large = sorted(drawn(2, 3_000_000), key=flops)
    (contest,) = contests([member("one", 3_000_000, [small])], params(), None)
    assert contest.preference(small) == (flops(small), parameters(small))
    assert contest.preference(small) < contest.preference(large)


def test_the_regression_proposes_new_networks_of_the_band() -> None:
    one = member("one", 3_000_000, drawn(2, 3_000_000))
    (contest,) = contests([one], params(guided=3), None)
    entries = [
        ledger(network).entries[0].model_copy(
            update={"standings": (Standing(
                steps=25, nll=2 - 0.1 * depth(network), accuracy=0.5, indicators={}
            ),)}
        )
        for network in drawn(40, 3_000_000)
    ]  # fmt: skip
    found = guided([one], params(guided=3), RECIPE)(contest, entries)
    assert len({p.architecture.id for p in found}) == 3
    assert all(0.9 <= tightest(p.architecture, one.limits) <= 1 for p in found)
    known = {entry.architecture_id for entry in entries}
    assert not known & {p.architecture.id for p in found}
    # It has learnt that deep networks are better.
    random = [depth(n) for n in contest.networks if CONTROL in contest.origins(n)]
    assert np.mean([depth(p.architecture) for p in found]) > np.mean(random)


def test_a_device_without_any_network_is_named() -> None:
    with pytest.raises(UserError, match=r"'one'.*stages search and rank"):
        contests([member("one", 10, drawn(2, 3_000_000))], params(), None)
