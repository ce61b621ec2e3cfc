"""A race: the networks of all devices, and how far each was trained.

Every network is trained once, whichever devices it belongs to. A device's networks are compared
only with each other, because each device has budgets of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from models.search.race.contest import Contest, Winner
from models.search.race.ledger import Entry, Ledger, Recipe, merge
from models.search.race.noise import Lead, lead, seed_noise
from models.search.race.training import Standing
from models.space.architecture import Architecture

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
