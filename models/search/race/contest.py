"""One device's part of a race: its networks, and which of them continue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.search.race.training import Standing
from models.space.architecture import Architecture

CONTROL = "control"
"""Origin of the random networks that the winner is compared with."""

Standings = Mapping[str, Standing]
"""By architecture id, all at the same rung."""


@dataclass(frozen=True)
class Proposal:
    """A network, and why it takes part: `search`, `control`, `deepest`, ..."""

    architecture: Architecture
    origin: str


@dataclass(frozen=True)
class Contest:
    """The networks of a device, all within its budgets.

    Attributes:
        device: its name.
        proposals: each network once or more, with different origins.
        preference: costs on the device, the most important one first, by which a tie is decided.
    """

    device: str
    proposals: tuple[Proposal, ...]
    preference: Callable[[Architecture], tuple[float, ...]]

    @property
    def networks(self) -> list[Architecture]:
        """The distinct networks, in order."""
        return list({one.architecture.id: one.architecture for one in self.proposals}.values())

    def origins(self, architecture: Architecture) -> tuple[str, ...]:
        """Why a network takes part."""
        return tuple(one.origin for one in self.proposals if one.architecture.id == architecture.id)

    @property
    def controls(self) -> list[Architecture]:
        """The random networks of the band."""
        return [network for network in self.networks if CONTROL in self.origins(network)]

    def extended(self, proposals: Sequence[Proposal]) -> Contest:
        """With further proposals."""
        return replace(self, proposals=(*self.proposals, *proposals))

    def best(
        self, networks: Sequence[Architecture], standings: Standings, count: int
    ) -> list[Architecture]:
        """The `count` networks with the lowest NLL, best first; ties in a fixed order."""
        order = sorted(networks, key=lambda one: (standings[one.id].nll, one.id))
        return order[:count]

    def winner(
        self, finalists: Sequence[Architecture], standings: Standings, noise: float | None
    ) -> Winner:
        """The best finalist, or the runner-up if it is within the noise and preferable.

        Args:
            finalists: trained to the end; at least one.
            standings: of them.
            noise: standard deviation of the difference of two trainings' NLL by their seeds; None
                if it was not estimated.
        """
        first, *others = self.best(finalists, standings, 2)
        if not others:
            return Winner(first, None, None)
        second = others[0]
        margin = standings[second.id].nll - standings[first.id].nll
        if noise is None or margin >= noise:
            return Winner(first, second, margin)
        preferred = min((first, second), key=lambda one: (*self.preference(one), one.id))
        return Winner(preferred, second if preferred is first else first, margin, tie=True)


@dataclass(frozen=True)
class Winner:
    """A device's network.

    Attributes:
        second: the other finalist.
        margin: difference of their NLL; not negative.
        tie: whether the margin is within the noise, so that costs decided.
    """

    architecture: Architecture
    second: Architecture | None
    margin: float | None
    tie: bool = False
