"""The networks that devices propose for a race.

Of a device: the best of its ranking, random networks of its band as controls, the deepest, the
largest and the width-scaled network of the band, the winner of an earlier race, and further random
networks up to `race.candidates`. What another device has proposed counts, if this device allows it
and it uses most of its budget: it is trained anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.settings import derive_seed
from devices.fleet.members import Member
from models.search.proposals.band import band_of
from models.search.proposals.guided import Trained
from models.search.proposals.guided import propose as propose_guided
from models.search.proposals.numbers import network_numbers
from models.search.proposals.simple import band_samples, deepest, largest, width_scaled
from models.search.race.contest import CONTROL, Contest, Proposal
from models.search.race.ledger import Entry, Ledger, Recipe
from models.search.race.result import Side
from models.search.race.runner import Propose
from models.search.race.settings import RaceParams
from models.space.architecture import Architecture
from models.space.costs import parameters
from models.space.limits import Limit
from models.space.space import SearchSpace
from models.space.spec import SpaceError

_NEAR = 0.7
"""Share of its tightest budget that another device's network must use to count for this one."""

Simple = Callable[[SearchSpace, Sequence[Limit], np.random.Generator, float], Architecture | None]
SIMPLE: Mapping[str, Simple] = {
    "deepest": deepest,
    "largest": largest,
    "width-scaled": width_scaled,
}
"""Proposals by cost alone, by origin."""


def contests(
    members: Sequence[Member],
    params: RaceParams,
    earlier: Ledger | None,
    joint: Sequence[Architecture] = (),
) -> list[Contest]:
    """The networks of every device, in the order of the devices.

    Args:
        members: the devices.
        params: of the race.
        earlier: the ledger of an earlier race; its winners take part.
        joint: networks drawn for several devices at once.

    Raises:
        UserError: a device has no network within its budgets.
    """
    winners = {} if earlier is None else earlier.winning()
    found: list[Contest] = []
    for member in members:
        fleet = [Proposal(one, "joint") for one in joint]
        fleet += [proposal for contest in found for proposal in contest.proposals]
        found.append(_contest(member, params, fleet, winners.get(member.name)))
    return found


def _contest(
    member: Member, params: RaceParams, fleet: Sequence[Proposal], winner: Architecture | None
) -> Contest:
    proposals = _of_fleet(member, fleet, params.band)
    own = _Own(member, params, winner)
    proposals += own.certain(sum(one.origin == CONTROL for one in proposals))
    known = {one.architecture.id for one in proposals}
    for proposal in own.further():
        if proposal.architecture.id in known or len(known) < params.candidates:
            proposals.append(proposal)
            known.add(proposal.architecture.id)
    if not proposals:
        raise UserError(
            f"'{member.name}' allows none of its ranked networks: its budget has changed since the "
            "ranking. Run its stages search and rank again."
        )
    return Contest(member.name, tuple(proposals), preference(member))


def _of_fleet(member: Member, fleet: Sequence[Proposal], band: float) -> list[Proposal]:
    """What other devices propose, where this one allows it and it uses most of the budget."""
    found: dict[tuple[str, str], Proposal] = {}
    for one in fleet:
        share = tightest(one.architecture, member.limits)
        general = one.origin in {CONTROL, "joint", "random"} or one.origin in SIMPLE
        if general and share >= _NEAR and member.allows(one.architecture):
            # A random network of another device's band is no control in this one's.
            origin = "random" if one.origin == CONTROL and share < band else one.origin
            found[one.architecture.id, origin] = Proposal(one.architecture, origin)
    return list(found.values())


@dataclass(frozen=True)
class _Own:
    """A device's own proposals."""

    member: Member
    params: RaceParams
    winner: Architecture | None

    def certain(self, controls: int) -> Iterator[Proposal]:
        """Those that always take part; `controls` are there already."""
        member, params = self.member, self.params
        yield from (Proposal(one, "search") for one in self._ranked[: params.from_search])
        count = max(0, params.controls - controls)
        rng = self._rng(0)
        for one in band_samples(member.space, member.limits, rng, count, params.band):
            yield Proposal(one, CONTROL)
        if self.winner is not None and member.allows(self.winner):
            yield Proposal(self.winner, "earlier winner")

    def further(self) -> Iterator[Proposal]:
        """Those that fill up, in this order."""
        member, params = self.member, self.params
        for number, (origin, propose) in enumerate(SIMPLE.items(), start=1):
            simple = propose(member.space, member.limits, self._rng(number), params.band)
            if simple is not None and member.allows(simple):
                yield Proposal(simple, origin)
        rng = self._rng(len(SIMPLE) + 1)
        fill = band_samples(member.space, member.limits, rng, params.candidates, params.band)
        yield from (Proposal(one, "random") for one in fill)
        yield from (Proposal(one, "search") for one in self._ranked[params.from_search :])

    @property
    def _ranked(self) -> list[Architecture]:
        return [one for one in self.member.ranked if self.member.allows(one)]

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([derive_seed(self.params.seed, self.member.name), number])


def tightest(architecture: Architecture, limits: Sequence[Limit]) -> float:
    """The largest share of a budget that a network takes; 1 without budgets."""
    return max((float(x.cost(architecture)) / x.budget for x in limits), default=1.0)


def preference(member: Member) -> Callable[[Architecture], tuple[float, ...]]:
    """What decides a tie: latency, where it was measured, then the first budget, then size."""

    def costs(architecture: Architecture) -> tuple[float, ...]:
        known = member.costs(architecture)
        first = known["latency_ms"] if known["latency_ms"] is not None else known[member.axis]
        return (float(first or 0.0), float(parameters(architecture)))

    return costs


def side(member: Member) -> Side:
    """What the race's result needs of a device."""
    return Side(member.costs, member.axis, member.budget, member.indicator)


def guided(members: Sequence[Member], params: RaceParams, recipe: Recipe) -> Propose:
    """Proposals by a regression on all trainings, `params.guided` per device."""
    by_name = {member.name: member for member in members}

    def propose(contest: Contest, entries: Sequence[Entry]) -> list[Proposal]:
        member = by_name[contest.device]
        rng = np.random.default_rng([derive_seed(params.seed, member.name), len(SIMPLE) + 2])
        band = band_of(member.space, member.limits, rng, params.band)
        trained = _trained(member.space, entries, recipe)
        if band is None or not trained:
            return []
        numbers = network_numbers(member.space)
        found = propose_guided(trained, band, numbers, rng, params.guided, recipe.steps)
        return [Proposal(member.space.architecture(choices), "guided") for choices in found]

    return propose


def _trained(space: SearchSpace, entries: Sequence[Entry], recipe: Recipe) -> list[Trained]:
    """The trainings of a space's networks, with another number for each other recipe."""
    numbers = {recipe.model_dump_json(): 0}
    found = []
    for entry in entries:
        number = numbers.setdefault(entry.recipe.model_dump_json(), len(numbers))
        try:
            choices = space.choices(entry.architecture)
        except SpaceError:  # of a device with another space, or of an earlier space
            continue
        found += [Trained(choices, one.nll, one.steps, number) for one in entry.standings]
    return found
