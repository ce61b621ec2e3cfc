"""Running a race: rung after rung, all devices together.

Every network is trained once, whichever devices it belongs to. A device's networks are compared
only with each other, because each device has budgets of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from core.progress import Progress
from models.search.race.contest import Contest, Proposal, Winner
from models.search.race.ledger import Entry, Ledger, Recipe, merge
from models.search.race.noise import Lead, lead, seed_noise
from models.search.race.settings import RaceParams
from models.search.race.store import Store
from models.search.race.training import Finished, Job, Standing
from models.space.architecture import Architecture

Listener = Callable[[int, float | str], None]
"""Called with the number of a running job and its completed steps."""
Execute = Callable[[Sequence[Job], Listener], Iterable[tuple[int, Finished]]]
"""Trains jobs; yields the number of each with its result, in any order."""
Propose = Callable[[Contest, Sequence[Entry]], Sequence[Proposal]]
"""Further networks of a device, from the trainings so far."""

Key = tuple[str, int]
"""A training: architecture id and repeat."""


@dataclass
class Race:
    """A race of a fleet.

    Attributes:
        contests: one per device, with all networks that took part.
        recipe: of all trainings.
        rungs: steps at which networks are compared; the last is the whole training.
        standings: by training and steps.
        alive: per rung the networks of each device that were compared there.
        reused: trainings that an earlier ledger had.
        completed: networks that this race has trained to the end, whose weights it has.
    """

    contests: list[Contest]
    recipe: Recipe
    rungs: tuple[int, ...]
    networks: dict[str, Architecture] = field(default_factory=dict)
    standings: dict[Key, dict[int, Standing]] = field(default_factory=dict)
    alive: list[dict[str, list[Architecture]]] = field(default_factory=list)
    reused: set[Key] = field(default_factory=set)
    completed: dict[str, Architecture] = field(default_factory=dict)

    def at(self, steps: int) -> dict[str, Standing]:
        """The standings of first trainings after some steps, by architecture id."""
        return {
            name: found[steps]
            for (name, repeat), found in self.standings.items()
            if repeat == 0 and steps in found
        }

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of the difference of two trainings' NLL at the first rung."""
        first = self.at(self.rungs[0])
        pairs = [
            (first[name].nll, found[self.rungs[0]].nll)
            for (name, repeat), found in self.standings.items()
            if repeat > 0
        ]
        return seed_noise(pairs)

    def winner(self, contest: Contest) -> Winner:
        """The best of a device's networks that were trained to the end, for whichever device."""
        ended = self.at(self.rungs[-1])
        return contest.winner([n for n in contest.networks if n.id in ended], ended, self.noise)

    def lead(self, contest: Contest) -> Lead | None:
        """The winner's lead over the controls, at the last rung that all controls reached."""
        winner = self.winner(contest).architecture
        for steps in reversed(self.rungs):
            found = self.at(steps)
            if all(one.id in found for each in self.contests for one in each.controls):
                controls = {
                    each.device: [found[one.id].accuracy for one in each.controls]
                    for each in self.contests
                }
                return lead(found[winner.id].accuracy, controls, contest.device, steps)
        return None

    def entries(self) -> list[Entry]:
        """All trainings, for the ledger."""
        return [
            Entry(
                architecture=self.networks[name],
                architecture_id=name,
                repeat=repeat,
                recipe=self.recipe,
                standings=tuple(found[steps] for steps in sorted(found)),
                reused=(name, repeat) in self.reused,
            )
            for (name, repeat), found in self.standings.items()
        ]

    def ledger(self, earlier: Ledger | None) -> Ledger:
        """The ledger with this race's trainings and those of an earlier one."""
        known = () if earlier is None else earlier.entries
        before = [one.model_copy(update={"reused": True}) for one in known]
        return Ledger(
            recipe=self.recipe,
            entries=merge([*before, *self.entries()]),
            winners={c.device: self.winner(c).architecture.id for c in self.contests},
        )


@dataclass
class Runner:
    """What a race needs besides its contests.

    Attributes:
        execute: trains jobs.
        earlier: an earlier ledger.
        propose: proposes further networks after the first rung.
    """

    params: RaceParams
    store: Store
    execute: Execute
    recipe: Recipe
    earlier: Ledger | None
    propose: Propose
    _progress: Progress | None = None
    _done: int = 0

    def run(self, contests: Sequence[Contest]) -> Race:
        """Race the networks of all devices.

        Raises:
            UserError: a training diverged.
        """
        race = Race(list(contests), self.recipe, self.params.steps(self.recipe.steps))
        with Progress("race", self._planned(race)) as self._progress:
            self._run(race)
        return race

    def _run(self, race: Race) -> None:
        alive = {contest.device: contest.networks for contest in race.contests}
        for number, until in enumerate(race.rungs):
            self._reach(race, self._due(race, alive, number), until)
            if number == 0 and self.params.guided:
                race.contests = [self._extended(race, contest) for contest in race.contests]
                alive = {contest.device: contest.networks for contest in race.contests}
                self._reach(race, self._due(race, alive, number), until)
            race.alive.append(alive)
            if until != race.rungs[-1]:
                alive = self._continuing(race, alive, until)
        self._complete_winners(race)
        assert self._progress is not None
        self._progress.update(self._progress.steps)

    def _planned(self, race: Race) -> int:
        """Training steps of all rungs, at most."""
        counts = [len(contest.networks) + self.params.guided for contest in race.contests]
        controls = {one.id for contest in race.contests for one in contest.controls}
        whole, before = 0, 0
        for number, until in enumerate(race.rungs):
            everything = {one.id for contest in race.contests for one in contest.networks}
            most = len(everything) + self.params.guided * len(counts) + self.params.repeats
            later = sum(counts) + (len(controls) if self.params.finish_controls else 0)
            whole += (most if number == 0 else later) * (until - before)
            counts, before = [self.params.survivors(count) for count in counts], until
        return whole

    def _due(
        self, race: Race, alive: Mapping[str, Sequence[Architecture]], number: int
    ) -> list[tuple[Architecture, int]]:
        """The trainings that have to reach a rung, in a fixed order."""
        networks = [network for contest in race.contests for network in alive[contest.device]]
        controls = [network for contest in race.contests for network in contest.controls]
        if number == 0 or self.params.finish_controls:
            networks += controls
        found = [(network, 0) for network in {one.id: one for one in networks}.values()]
        if number == 0:
            again = list({one.id: one for one in [*controls, *networks]}.values())
            found += [(network, 1) for network in again[: self.params.repeats]]
        return found

    def _continuing(
        self, race: Race, alive: Mapping[str, Sequence[Architecture]], until: int
    ) -> dict[str, list[Architecture]]:
        """The better part of every device's networks."""
        standings = race.at(until)
        return {
            contest.device: contest.best(
                alive[contest.device],
                standings,
                self.params.survivors(len(alive[contest.device])),
            )
            for contest in race.contests
        }

    def _extended(self, race: Race, contest: Contest) -> Contest:
        known = [*(self.earlier.entries if self.earlier else ()), *race.entries()]
        return contest.extended(self.propose(contest, known))

    def _reach(self, race: Race, due: Sequence[tuple[Architecture, int]], until: int) -> None:
        """Train all of these up to a rung, except what the store or an earlier ledger has."""
        jobs: list[Job] = []
        for network, repeat in due:
            key = (network.id, repeat)
            race.networks[network.id] = network
            # The ledger first: it is an input, while the store is what other runs have left.
            found = self._answer(key, until)
            if found is not None:
                race.reused.add(key)
            else:
                if repeat == 0 and until == race.rungs[-1]:
                    race.completed[network.id] = network
                found = self.store.standing(network, repeat, until)
            if found is None:
                jobs.append(self._job(race, network, repeat, until))
            else:
                race.standings.setdefault(key, {})[until] = found
        for job, standing in self._train(jobs):
            race.standings.setdefault((job.architecture.id, job.repeat), {})[until] = standing

    @cached_property
    def _answers(self) -> Mapping[Key, Entry]:
        return {} if self.earlier is None else self.earlier.of(self.recipe)

    def _answer(self, key: Key, until: int) -> Standing | None:
        """The evaluation of an earlier ledger after exactly these steps."""
        standings = self._answers[key].standings if key in self._answers else ()
        return next((one for one in standings if one.steps == until), None)

    def _job(self, race: Race, network: Architecture, repeat: int, until: int) -> Job:
        """The job that brings a training to a rung; its slice is scored once."""
        known = next(iter(race.standings.get((network.id, repeat), {}).values()), None)
        job = self.store.job(network, repeat, until)
        return job if known is None else replace(job, indicators=known.indicators)

    def _complete_winners(self, race: Race) -> None:
        """Train the winners whose weights are not here, because an earlier ledger had the rest."""
        last = race.rungs[-1]
        winners = {(a := race.winner(contest).architecture).id: a for contest in race.contests}
        race.completed |= winners
        missing = [a for a in winners.values() if self.store.standing(a, 0, last) is None]
        for _ in self._train([self._job(race, network, 0, last) for network in missing]):
            pass

    def _train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Standing]]:
        """Train, and keep every result as soon as it is there."""
        running: dict[int, float] = {}

        def listen(number: int, steps: float | str) -> None:
            running[number] = max(0.0, float(steps) - jobs[number].begin)
            self._report(sum(running.values()))

        for number, finished in self.execute(jobs, listen) if jobs else ():
            job = jobs[number]
            self.store.add(job, finished)
            running.pop(number, None)
            self._done += job.until - job.begin
            self._report(sum(running.values()), {"nll": finished.standing.nll})
            yield job, finished.standing

    def _report(self, running: float, values: Mapping[str, float] | None = None) -> None:
        assert self._progress is not None
        done = min(self._done + round(running), self._progress.steps - 1)
        self._progress.update(done, values)
