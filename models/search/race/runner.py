"""Running a race: every device's networks from rung to rung, without waiting for other devices.

Every network is trained once, whichever devices it belongs to. What is compared does not depend on
the order in which trainings end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from core.progress import Progress
from models.search.race.contest import Contest, Proposal
from models.search.race.ledger import Entry, Ledger, Recipe
from models.search.race.race import Key, Race
from models.search.race.settings import RaceParams
from models.search.race.store import Store
from models.search.race.training import Finished, Job, Standing
from models.space.architecture import Architecture

Listener = Callable[[int, float | str], None]
"""Called with the number of a running job and its completed steps."""
Execute = Callable[[Sequence[Job], Listener], Iterable[tuple[int, Finished]]]
"""Trains jobs; yields the number of each with its result, in any order. Jobs that are appended
while a result is handled are trained too."""
Propose = Callable[[Contest, Sequence[Entry]], Sequence[Proposal]]
"""Further networks of a device, from the trainings so far."""


@dataclass
class _Course:
    """A device's way through the rungs.

    Attributes:
        alive: its networks at the rung.
        number: of the rung, from 0.
        extended: whether guided networks have joined.
    """

    contest: Contest
    alive: list[Architecture]
    number: int = 0
    extended: bool = False


@dataclass
class Runner:
    """What a race needs besides its contests.

    Attributes:
        execute: trains jobs.
        earlier: an earlier ledger.
        propose: proposes further networks after the first rung.
        checkpoints: whether a job saves its state within a rung; it needs this machine's files.
    """

    params: RaceParams
    store: Store
    execute: Execute
    recipe: Recipe
    earlier: Ledger | None
    propose: Propose
    checkpoints: bool = True
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
        race.alive = [{contest.device: [] for contest in race.contests} for _ in race.rungs]
        courses = [_Course(contest, contest.networks) for contest in race.contests]
        jobs: list[Job] = []
        repeats = self._missing(race, self._repeats(race), race.rungs[0])
        self._continue(race, courses, jobs)
        self._add(race, jobs, repeats)
        for job, standing in self._train(jobs):
            race.standings.setdefault((job.architecture.id, job.repeat), {})[job.until] = standing
            self._continue(race, courses, jobs)
        self._complete_winners(race)
        assert self._progress is not None
        self._progress.update(self._progress.steps)

    def _continue(self, race: Race, courses: Sequence[_Course], jobs: list[Job]) -> None:
        """Add the jobs of every device that has finished its rung; devices do not wait for others.

        Except for guided networks: their proposals are from the first rung of all devices.
        """
        guided = self.params.guided
        for course in courses:
            while course.number < len(race.rungs):
                until = race.rungs[course.number]
                missing = self._missing(race, self._due(course), until)
                self._add(race, jobs, missing)
                if missing or (guided and not course.extended):
                    break
                self._finish_rung(race, course)
        if guided and not any(one.extended for one in courses) and self._first_done(race, courses):
            race.contests = [self._extended(race, contest) for contest in race.contests]
            for course, contest in zip(courses, race.contests, strict=True):
                course.contest, course.alive, course.extended = contest, contest.networks, True
            self._continue(race, courses, jobs)

    def _first_done(self, race: Race, courses: Sequence[_Course]) -> bool:
        due = [*self._repeats(race), *(key for one in courses for key in self._due(one))]
        return not self._missing(race, due, race.rungs[0])

    def _finish_rung(self, race: Race, course: _Course) -> None:
        """Compare a device's networks, and let the better part continue."""
        race.alive[course.number][course.contest.device] = course.alive
        standings = race.at(race.rungs[course.number])
        count = self.params.survivors(len(course.alive))
        course.number += 1
        if course.number < len(race.rungs):
            course.alive = course.contest.best(course.alive, standings, count)

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

    def _due(self, course: _Course) -> list[tuple[Architecture, int]]:
        """The trainings that a device needs at its rung, in a fixed order."""
        networks = list(course.alive)
        if course.number == 0 or self.params.finish_controls:
            networks += course.contest.controls
        return [(network, 0) for network in {one.id: one for one in networks}.values()]

    def _repeats(self, race: Race) -> list[tuple[Architecture, int]]:
        """The trainings with another seed, of controls first."""
        networks = [network for contest in race.contests for network in contest.controls]
        networks += [network for contest in race.contests for network in contest.networks]
        again = list({one.id: one for one in networks}.values())
        return [(network, 1) for network in again[: self.params.repeats]]

    def _extended(self, race: Race, contest: Contest) -> Contest:
        # Sorted: trainings end in any order.
        own = sorted(race.entries(), key=lambda entry: entry.key)
        known = [*(self.earlier.entries if self.earlier else ()), *own]
        return contest.extended(self.propose(contest, known))

    def _missing(
        self, race: Race, due: Sequence[tuple[Architecture, int]], until: int
    ) -> list[tuple[Architecture, int, int]]:
        """Those that have not reached a rung; what the store or an earlier ledger has is read."""
        missing = []
        for network, repeat in due:
            key = (network.id, repeat)
            if until in race.standings.get(key, {}):
                continue
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
                missing.append((network, repeat, until))
            else:
                race.standings.setdefault(key, {})[until] = found
        return missing

    def _add(
        self, race: Race, jobs: list[Job], missing: Sequence[tuple[Architecture, int, int]]
    ) -> None:
        """Add their jobs, each once: another device may have added it."""
        known = {(job.architecture.id, job.repeat, job.until) for job in jobs}
        for network, repeat, until in missing:
            if (network.id, repeat, until) not in known:
                jobs.append(self._job(race, network, repeat, until))

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
        if not self.checkpoints:
            job = replace(job, save=None)
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
