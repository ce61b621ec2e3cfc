"""What a race decides, with a formula instead of trainings."""

import math
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.search.race.contest import Contest, Proposal
from models.search.race.ledger import Entry, Ledger
from models.search.race.race import Race
from models.space.architecture import Architecture
from tests.races import RECIPE, Formula, contest, entry, networks, runner, standing

NETWORKS = networks(12)
ORDER = {network.id: number for number, network in enumerate(NETWORKS)}


def by_number(network: Architecture, repeat: int, steps: int) -> float:
    """Lower numbers are better; another seed gives 0.01 more."""
    return ORDER[network.id] / 10 + 1 / steps + 0.01 * repeat


def alive(race: Race, device: str) -> list[list[int]]:
    """The numbers of the networks that a device compared, by rung."""
    return [sorted(ORDER[one.id] for one in rung[device]) for rung in race.alive]


def test_the_better_half_continues_to_the_last_rung_and_its_best_wins(tmp_path: Path) -> None:
    execute = Formula(by_number)
    one = contest("one", NETWORKS[:6])
    race = runner(tmp_path, execute).run([one])
    assert race.rungs == (4, 8, 16)
    assert alive(race, "one") == [[0, 1, 2, 3, 4, 5], [0, 1, 2], [0, 1]]
    assert race.winner(one).architecture == NETWORKS[0]
    assert race.winner(one).margin == pytest.approx(0.1)
    assert [steps for _, _, steps in execute.trained] == [4] * 6 + [8] * 3 + [16] * 2


def test_a_lead_at_an_early_rung_that_turns_is_lost(tmp_path: Path) -> None:
    def crossing(network: Architecture, repeat: int, steps: int) -> float:
        number = ORDER[network.id]
        return number / 10 if steps < 16 else -number / 10

    one = contest("one", NETWORKS[:6])
    race = runner(tmp_path, Formula(crossing)).run([one])
    assert race.winner(one).architecture == NETWORKS[1]  # of the finalists 0 and 1


@pytest.mark.parametrize(
    ("keep", "finalists", "expected"),
    [(0.5, 2, [7, 4, 2]), (0.5, 1, [7, 4, 2]), (0.1, 3, [7, 3, 3]), (0.9, 1, [7, 7, 7]),
     (0.1, 1, [7, 1, 1]), (0.5, 9, [7, 7, 7])],
)  # fmt: skip
def test_a_share_rounded_up_continues_and_never_fewer_than_the_finalists(
    tmp_path: Path, keep: float, finalists: int, expected: list[int]
) -> None:
    race = runner(tmp_path, Formula(by_number), keep=keep, finalists=finalists).run(
        [contest("one", NETWORKS[:7])]
    )
    assert [len(rung["one"]) for rung in race.alive] == expected


def test_a_devices_networks_are_compared_only_with_each_other(tmp_path: Path) -> None:
    """All of the second device's networks are worse than all of the first's."""
    fleet = [contest("good", NETWORKS[:4]), contest("poor", NETWORKS[6:10])]
    race = runner(tmp_path, Formula(by_number)).run(fleet)
    assert alive(race, "good") == [[0, 1, 2, 3], [0, 1], [0, 1]]
    assert alive(race, "poor") == [[6, 7, 8, 9], [6, 7], [6, 7]]
    assert [race.winner(one).architecture for one in fleet] == [NETWORKS[0], NETWORKS[6]]


def test_a_network_of_two_devices_is_trained_once(tmp_path: Path) -> None:
    execute = Formula(by_number)
    fleet = [contest("a", NETWORKS[:4]), contest("b", NETWORKS[1:5])]
    race = runner(tmp_path, execute).run(fleet)
    assert len(execute.trained) == len(set(execute.trained))
    first = [name for name, _, steps in execute.trained if steps == 4]
    assert first == [network.id for network in NETWORKS[:5]]
    assert alive(race, "b")[1:] == [[1, 2], [1, 2]]
    assert race.winner(fleet[1]).architecture == NETWORKS[1]


def test_a_network_that_another_device_took_to_the_end_can_win(tmp_path: Path) -> None:
    """Device b eliminates network 2 early, but a trains it to the end, where it is the best."""

    def late(network: Architecture, repeat: int, steps: int) -> float:
        number = ORDER[network.id]
        return -1.0 if number == 2 and steps == 16 else number / 10

    fleet = [contest("a", [NETWORKS[2], *NETWORKS[6:9]]), contest("b", NETWORKS[:4])]
    race = runner(tmp_path, Formula(late)).run(fleet)
    assert alive(race, "b") == [[0, 1, 2, 3], [0, 1], [0, 1]]
    assert [race.winner(one).architecture for one in fleet] == [NETWORKS[2]] * 2


FLEETS = st.lists(
    st.lists(st.sampled_from(range(12)), min_size=1, max_size=6, unique=True),
    min_size=1,
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=15)
@given(FLEETS, st.integers(0, 10_000), st.floats(0.1, 0.9), st.integers(1, 3))
def test_every_fleet_keeps_the_better_part_of_each_device(
    drawn: list[list[int]], seed: int, keep: float, finalists: int
) -> None:
    table = np.random.default_rng(seed).permutation(12 * 3).reshape(12, 3) / 40

    def nll(network: Architecture, repeat: int, steps: int) -> float:
        return float(table[ORDER[network.id], (4, 8, 16).index(steps)])

    fleet = [contest(str(n), [NETWORKS[one] for one in own]) for n, own in enumerate(drawn)]
    execute = Formula(nll)
    with tempfile.TemporaryDirectory() as folder:
        race = runner(Path(folder), execute, keep=keep, finalists=finalists).run(fleet)
    assert len(execute.trained) == len(set(execute.trained))
    for one, own in zip(fleet, drawn, strict=True):
        rungs = alive(race, one.device)
        assert rungs[0] == sorted(own)
        for column, (here, kept) in enumerate(pairwise(rungs)):
            assert set(kept) <= set(here)
            assert len(kept) == min(len(here), max(finalists, math.ceil(len(here) * keep)))
            worst = max(table[n, column] for n in kept)
            assert all(table[n, column] > worst for n in set(here) - set(kept))
        ended = [n for n in own if NETWORKS[n].id in race.completed]
        assert set(rungs[-1]) <= set(ended)
        assert ORDER[race.winner(one).architecture.id] == min(ended, key=lambda n: table[n, 2])


def test_a_run_continues_from_its_last_rung(tmp_path: Path) -> None:
    execute = Formula(by_number)
    runner(tmp_path, execute).run([contest("one", NETWORKS[:2])])
    for job in execute.jobs:
        before = {4: None, 8: 4, 16: 8}[job.until]
        assert job.begin == (before or 0)
        named = f"{job.architecture.id}-0-{before}".encode()
        assert job.state == (None if before is None else named)


@pytest.mark.parametrize("finish", [False, True])
def test_controls_finish_only_where_that_is_asked_for(tmp_path: Path, finish: bool) -> None:
    one = contest("one", NETWORKS[:4], controls=[NETWORKS[10], NETWORKS[11]])
    execute = Formula(by_number)
    race = runner(tmp_path, execute, finish_controls=finish).run([one])
    assert alive(race, "one")[1:] == [[0, 1, 2], [0, 1]]
    ended = {name for name, _, steps in execute.trained if steps == 16}
    assert ended == {NETWORKS[n].id for n in ((0, 1, 10, 11) if finish else (0, 1))}
    found = race.lead(one)
    assert found is not None
    assert found.steps == (16 if finish else 4)
    assert found.controls == 2
    # (1 - nll / 4), so 0.1 of the NLL are 2.5 points: against the mean of 1.0 and 1.1.
    assert found.points == pytest.approx(105 / 4)


def test_repeats_estimate_the_noise_of_controls_first(tmp_path: Path) -> None:
    execute = Formula(by_number)
    one = contest("one", NETWORKS[:4], controls=[NETWORKS[7]])
    race = runner(tmp_path, execute, repeats=2).run([one])
    again = [name for name, repeat, _ in execute.trained if repeat == 1]
    assert again == [NETWORKS[7].id, NETWORKS[0].id]
    assert race.noise == pytest.approx(0.01)
    assert all(steps == 4 for _, repeat, steps in execute.trained if repeat == 1)


@pytest.mark.parametrize(("repeats", "winner"), [(1, 1), (0, 0)])
def test_a_tie_needs_repeats(tmp_path: Path, repeats: int, winner: int) -> None:
    def close(network: Architecture, repeat: int, steps: int) -> float:
        return 1 + ORDER[network.id] / 1000 + 0.01 * repeat

    one = contest("one", NETWORKS[:4], preference=lambda network: (-ORDER[network.id],))
    race = runner(tmp_path, Formula(close), repeats=repeats).run([one])
    assert race.winner(one).architecture == NETWORKS[winner]
    assert race.winner(one).tie is (repeats > 0)


def outcome(race: Race, fleet: list[Contest]) -> tuple[object, ...]:
    """Everything that a race decides."""
    ledger = race.ledger(None).to_json()
    return ledger, [alive(race, one.device) for one in fleet], [race.lead(one) for one in fleet]


def best_known(one: Contest, entries: Sequence[Entry]) -> list[Proposal]:
    """A guided proposal that depends on the entries and on their order."""
    best = sum(n * entry.standings[0].nll for n, entry in enumerate(entries, start=1))
    return [Proposal(NETWORKS[11 - int(100 * best) % 3], "guided")]


@pytest.mark.parametrize("guided", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_the_order_in_which_trainings_finish_changes_nothing(
    tmp_path: Path, seed: int, guided: int
) -> None:
    fleet = [contest("a", NETWORKS[:6], [NETWORKS[9]]), contest("b", NETWORKS[3:8])]
    found = []
    for name, pick in (("first", lambda _: 0), ("any", Random(seed).randrange)):
        racer = runner(tmp_path / name, Formula(by_number, pick), repeats=2, guided=guided)
        racer.propose = best_known
        race = racer.run(fleet)
        found.append(outcome(race, race.contests))
    assert found[0] == found[1]


def test_a_device_does_not_wait_for_the_others(tmp_path: Path) -> None:
    execute = Formula(by_number, pick=lambda count: count - 1)  # the newest job first
    runner(tmp_path, execute).run([contest("a", NETWORKS[:4]), contest("b", NETWORKS[4:8])])
    steps = [until for _, _, until in execute.trained]
    assert steps.index(16) < len(steps) - 1 - steps[::-1].index(4)


@pytest.mark.parametrize("killed_after", [0, 1, 5, 7, 8, 10, 12])
def test_a_killed_race_decides_the_same_and_trains_nothing_twice(
    tmp_path: Path, killed_after: int
) -> None:
    fleet = [contest("a", NETWORKS[:4], [NETWORKS[9]]), contest("b", NETWORKS[2:6])]
    whole = runner(tmp_path / "whole", Formula(by_number), repeats=1).run(fleet)
    killed = Formula(by_number, fails_after=killed_after)
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path / "killed", killed, repeats=1).run(fleet)
    again = Formula(by_number)
    race = runner(tmp_path / "killed", again, repeats=1).run(fleet)
    assert outcome(race, fleet) == outcome(whole, fleet)
    assert not set(killed.trained) & set(again.trained)
    assert len(killed.trained) == killed_after


def test_guided_networks_join_at_the_first_rung(tmp_path: Path) -> None:
    given: list[int] = []

    def propose(one: Contest, entries: Sequence[Entry]) -> list[Proposal]:
        given.append(len(entries))
        return [Proposal(NETWORKS[0], "guided")]

    execute = Formula(by_number)
    race_runner = runner(tmp_path, execute, guided=1)
    race_runner.propose = propose
    race = race_runner.run([contest("one", NETWORKS[4:8])])
    assert given == [4]
    assert alive(race, "one") == [[0, 4, 5, 6, 7], [0, 4, 5], [0, 4]]
    (one,) = race.contests
    assert one.origins(NETWORKS[0]) == ("guided",)
    assert race.winner(one).architecture == NETWORKS[0]


def ledger(*entries: Entry) -> Ledger:
    return Ledger(recipe=RECIPE, entries=entries, winners={})


def test_an_earlier_ledger_answers_and_only_the_winner_is_trained_for_its_weights(
    tmp_path: Path,
) -> None:
    one = contest("one", NETWORKS[:4])
    first = runner(tmp_path / "first", Formula(by_number)).run([one])
    execute = Formula(by_number)
    second = runner(tmp_path / "second", execute, first.ledger(None)).run([one])
    assert execute.trained == [(NETWORKS[0].id, 0, 16)]
    assert execute.jobs[0].state is None
    assert second.completed == {NETWORKS[0].id: NETWORKS[0]}
    assert first.completed.keys() == {NETWORKS[0].id, NETWORKS[1].id}
    assert second.reused == {(network.id, 0) for network in NETWORKS[:4]}
    known = first.ledger(None).entries
    found = second.ledger(first.ledger(None)).entries
    assert [one.standings for one in found] == [one.standings for one in known]
    assert all(one.reused for one in found)


def test_what_an_earlier_ledger_answers_does_not_depend_on_what_the_store_has(
    tmp_path: Path,
) -> None:
    one = contest("one", NETWORKS[:4])
    first = runner(tmp_path / "first", Formula(by_number)).run([one]).ledger(None)
    ledgers = []
    for folder in ("first", "second"):  # the first has all states in its store
        race = runner(tmp_path / folder, Formula(by_number), first).run([one])
        ledgers.append((race.ledger(first), race.completed.keys()))
    assert ledgers[0] == ledgers[1]


def test_entries_of_another_recipe_are_no_answers(tmp_path: Path) -> None:
    other = RECIPE.model_copy(update={"training": "other"})
    wrong = entry(NETWORKS[3], *(standing(s, -9.0) for s in (4, 8, 16)), recipe=other)
    execute = Formula(by_number)
    one = contest("one", NETWORKS[:4])
    race = runner(tmp_path, execute, ledger(wrong)).run([one])
    assert race.winner(one).architecture == NETWORKS[0]
    assert (NETWORKS[3].id, 0, 4) in execute.trained
    assert race.reused == set()
    kept = wrong.model_copy(update={"reused": True})
    assert kept in race.ledger(ledger(wrong)).entries


def test_a_new_device_trains_only_new_networks(tmp_path: Path) -> None:
    first = [contest("a", NETWORKS[:4])]
    runner(tmp_path, Formula(by_number)).run(first)
    execute = Formula(by_number)
    race = runner(tmp_path, execute).run([*first, contest("b", NETWORKS[2:6])])
    assert {name for name, _, steps in execute.trained if steps == 4} == {
        network.id for network in NETWORKS[4:6]
    }
    assert {name for name, _, _ in execute.trained} == {n.id for n in NETWORKS[2:6]}
    assert alive(race, "b") == [[2, 3, 4, 5], [2, 3], [2, 3]]


def test_a_network_that_was_eliminated_now_keeps_what_an_earlier_race_knew(
    tmp_path: Path,
) -> None:
    known = ledger(entry(NETWORKS[5], *(standing(s, 0.9) for s in (4, 8, 16))))
    one = contest("one", NETWORKS[:6])
    race = runner(tmp_path, Formula(lambda *a: by_number(*a) / 10), known).run([one])
    assert 5 not in alive(race, "one")[1]
    (found,) = [e for e in race.ledger(known).entries if e.architecture == NETWORKS[5]]
    assert [s.steps for s in found.standings] == [4, 8, 16]
    assert found.reused


def test_rungs_that_round_to_the_same_step_are_one(tmp_path: Path) -> None:
    race = runner(tmp_path, Formula(by_number), rungs=(0.01, 0.02, 0.5, 1.0)).run(
        [contest("one", NETWORKS[:4])]
    )
    assert race.rungs == (1, 8, 16)


def test_progress_ends_with_its_last_step(tmp_path: Path, capsys) -> None:
    runner(tmp_path, Formula(by_number), repeats=1).run([contest("one", NETWORKS[:6])])
    lines = capsys.readouterr().out.splitlines()
    # 7 trainings of 4 steps, 3 that continue for 4, and 2 for 8.
    assert "progress 56/56" in lines[-1]
