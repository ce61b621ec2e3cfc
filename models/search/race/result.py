"""The race's output: ledger, records and pictures, certificates, and the trained finalists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.artifact import Artifact, Record, Rounded
from core.files import rounded, write_bytes
from models.predict.ranking import certify
from models.search.candidates import Costs
from models.search.choice import Choice
from models.search.race.contest import Contest
from models.search.race.ledger import Ledger
from models.search.race.networks import FOLDER, write_network
from models.search.race.noise import Lead
from models.search.race.picture import Curve, race_png
from models.search.race.race import Race
from models.search.race.store import Store
from models.search.rank.certificate import CertificateRecord, Truth
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters

CERTIFICATES = "certificates"
_RANDOM, _BOOTSTRAP = 0, 1
"""Separate random streams of one seed."""


class RungResult(Record):
    """A network at a rung."""

    steps: int
    nll: Rounded
    accuracy: Rounded


class RacedNetwork(Record):
    """A network of a device's race."""

    architecture_id: str
    short: str
    origins: tuple[str, ...]
    """Why it took part: search, control, deepest, ..."""
    costs: Costs
    rungs: tuple[RungResult, ...]
    """On all validation images."""


class LeadRecord(Record):
    """By how much the winner is ahead of random networks of the band, in percentage points."""

    points: Rounded
    low: Rounded
    """End of the 95% interval; None if there are too few random networks."""
    high: Rounded
    controls: int
    """Number of random networks."""
    steps: int
    """For which all were trained."""


class RacedDevice(Record):
    """A device's race."""

    networks: tuple[RacedNetwork, ...]
    """The winner first, then by how far and how well they came."""
    winner: str
    reason: str
    tie: bool
    """Whether the finalists differ by less than the noise of training, so that costs decided."""
    lead: LeadRecord | None
    """None without controls."""
    statement: str


class RaceRecord(Artifact):
    """`race.json`: what the races of all devices decided, and why."""

    SCHEMA: ClassVar[str] = "netwright/race/1"
    FILE: ClassVar[str] = "race.json"

    rungs: tuple[int, ...]
    """Training steps."""
    seed_noise: Rounded
    """Standard deviation of the difference in NLL of two trainings with other seeds, at the first
    rung; None if not estimated."""
    devices: dict[str, RacedDevice]


@dataclass(frozen=True)
class Side:
    """What the result needs of a device besides its race.

    Attributes:
        costs: of a network on it.
        axis: its cost axis in pictures.
        budget: on that axis; None without one.
        indicator: that its candidates were ranked by.
    """

    costs: Callable[[Architecture], Costs]
    axis: str
    budget: float | None
    indicator: str


@dataclass(frozen=True)
class RaceResult:
    """A finished race."""

    race: Race
    store: Store
    earlier: Ledger | None
    sides: Mapping[str, Side]
    seed: int
    bootstrap: int

    def write(self, out: Path, choices: Path) -> None:
        """Write everything to the folder `out`, and a choice per device to `choices`."""
        race, last = self.race, self.race.rungs[-1]
        race.ledger(self.earlier).write(out)
        self.record().write(out)
        for network in race.completed.values():
            weights = self.store.weights(network, last)
            write_network(out / FOLDER, network, weights, self.store.history(network, last))
        for contest in race.contests:
            self.certificate(contest).write(out / CERTIFICATES / f"{contest.device}.json")
            write_bytes(out / f"{contest.device}.png", self.picture(contest))
            self.choice(contest).write(choices / f"{contest.device}.json")
        self.store.prune()

    def record(self) -> RaceRecord:
        """The content of `race.json`."""
        return RaceRecord(
            rungs=self.race.rungs,
            seed_noise=self.race.noise,
            devices={contest.device: self._device(contest) for contest in self.race.contests},
        )

    def choice(self, contest: Contest) -> Choice:
        """The winner as the device's own network."""
        winner = self.race.winner(contest).architecture
        first = self.race.at(self.race.rungs[0])[winner.id]
        scores = first.indicators.get("supernet_accuracy")
        return Choice.of(winner, self.reason(contest), scores)

    def reason(self, contest: Contest) -> str:
        """Why the winner was selected, as the end of a sentence that begins with the network."""
        race = self.race
        won, count = race.winner(contest), len(contest.networks)
        nll = race.at(race.rungs[-1])[won.architecture.id].nll
        best = f"of {count} networks in {len(race.rungs)} rungs of its training"
        if won.second is None or won.margin is None:
            return f"the best {best}, with an NLL of {nll:.4f} on the validation images"
        if won.tie:
            return (
                f"one of the two best {best}: their NLLs on the validation images differ by "
                f"{won.margin:.4f}, less than two trainings of one network do "
                f"({race.noise:.4f}), and it costs less"
            )
        return (
            f"the best {best}, with an NLL of {nll:.4f} on the validation images, "
            f"{won.margin:.4f} below the second"
        )

    def certificate(self, contest: Contest) -> CertificateRecord:
        """How well each indicator orders the device's networks, by their first rung."""
        race, steps = self.race, self.race.rungs[0]
        standings, networks = race.at(steps), contest.networks
        rng = np.random.default_rng([self.seed, _RANDOM])
        names = set.intersection(*(set(standings[one.id].indicators) for one in networks))
        scores: dict[str, list[float]] = {
            name: [standings[one.id].indicators[name] for one in networks] for name in sorted(names)
        } | {
            "depth": [depth(one) for one in networks],
            "flops": [flops(one) for one in networks],
            "parameters": [parameters(one) for one in networks],
            "random": rng.random(len(networks)).tolist(),
        }
        truth = [-standings[one.id].nll for one in networks]
        draws = np.random.default_rng([self.seed, _BOOTSTRAP])
        found = certify(truth, scores, self.bootstrap, draws)
        indicator = self.sides[contest.device].indicator
        said = found.describe(indicator if indicator in names else min(names)) if names else ""
        return CertificateRecord(
            **dict(found),
            statement=" ".join(filter(None, [said, self._lead_sentence(contest)])),
            evidence=(
                f"{len(networks)} networks of this device's race, each trained for {steps} of "
                f"{race.rungs[-1]} steps of the final recipe, and compared by their NLL on all "
                "validation images."
            ),
            truth=tuple(
                Truth(architecture_id=one.id, accuracy=standings[one.id].accuracy)
                for one in networks
            ),
        )

    def picture(self, contest: Contest) -> bytes:
        """Rungs as curves, and networks over their cost."""
        side, race = self.sides[contest.device], self.race
        winner = race.winner(contest).architecture.id
        curves = [
            Curve(
                one.origins[0],
                [(row.steps, float(row.nll or 0), float(row.accuracy or 0)) for row in one.rungs],
                one.costs.get(side.axis),
                one.architecture_id == winner,
            )
            for one in self._networks(contest)
        ]
        return race_png(contest.device, curves, side.axis, side.budget)

    def _lead_sentence(self, contest: Contest) -> str:
        found = self.race.lead(contest)
        if found is None:
            return "No random network of the band was trained, so the lead is not known."
        after = f"after {found.steps} of {self.race.rungs[-1]} steps"
        return f"The selected network is {found.describe()}, {after}."

    def _device(self, contest: Contest) -> RacedDevice:
        won = self.race.winner(contest)
        return RacedDevice(
            networks=tuple(self._networks(contest)),
            winner=won.architecture.id,
            reason=self.reason(contest),
            tie=won.tie,
            lead=_lead_record(self.race.lead(contest)),
            statement=self._lead_sentence(contest),
        )

    def _networks(self, contest: Contest) -> Sequence[RacedNetwork]:
        winner = self.race.winner(contest).architecture.id
        rows = [self._network(contest, one) for one in contest.networks]

        def place(row: RacedNetwork) -> tuple[bool, int, float]:
            return row.architecture_id != winner, -len(row.rungs), float(row.rungs[-1].nll or 0)

        return sorted(rows, key=place)

    def _network(self, contest: Contest, network: Architecture) -> RacedNetwork:
        found = self.race.standings[network.id, 0]
        # Without the middle rungs to which only other devices have taken it.
        compared = [
            steps
            for steps, alive in zip(self.race.rungs, self.race.alive, strict=True)
            if steps == self.race.rungs[-1]
            or network in [*alive[contest.device], *contest.controls]
            if steps in found
        ]
        return RacedNetwork(
            architecture_id=network.id,
            short=network.short(),
            origins=tuple(dict.fromkeys(contest.origins(network))),
            costs=self.sides[contest.device].costs(network),
            rungs=tuple(
                RungResult(steps=steps, nll=found[steps].nll, accuracy=found[steps].accuracy)
                for steps in compared
            ),
        )


def _lead_record(found: Lead | None) -> LeadRecord | None:
    if found is None:
        return None
    return LeadRecord(
        points=rounded(found.points),
        low=rounded(found.low),
        high=rounded(found.high),
        controls=found.controls,
        steps=found.steps,
    )
