"""The devices of a fleet, and the results of their searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_json
from devices.device import Device
from devices.latency.budgets import limits, predicted_costs, with_milliseconds
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from models.search.candidates import Candidates
from models.search.rank.result import Ranking
from models.space.architecture import Architecture
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.limits import Limit, total_excess
from models.space.space import SearchSpace
from models.space.spec import SpaceError

_ROUNDING = 1e-5
"""Excess that may result from a margin rounded to six digits in a file."""


@dataclass(frozen=True)
class Member:
    """One device.

    Attributes:
        name: its name.
        device: its settings, with a latency share converted to milliseconds.
        space: its search space.
        limits: its budgets, the latency budget reduced by the margin of its search.
        costs: costs of a network on it.
        ranked: networks of its ranking, best first.
        indicator: that they were ranked by.
        distribution: content of `distribution.json`; None if its search has none.
    """

    name: str
    device: Device
    space: SearchSpace
    limits: tuple[Limit, ...]
    costs: Callable[[Architecture], dict[str, float | None]]
    ranked: tuple[Architecture, ...]
    indicator: str
    distribution: Mapping[str, Any] | None

    @classmethod
    def open(
        cls, name: str, device: Device, whole: SearchSpace, profile: Path, search: Path, rank: Path
    ) -> Member:
        """Read the outputs of the device's stages.

        Raises:
            FileFormatError: a file is missing or of another version.
        """
        table, found = DeviceProfile.read(profile).table, Candidates.read(search)
        ranking = Ranking.read(rank)
        by_id = {one.architecture_id: one.architecture for one in found.candidates}
        saved = search / "distribution.json"
        return cls(
            name,
            with_milliseconds(device, table),
            device_space(whole, name, device).space,
            limits(device, table, found.latency_margin or 0.0),
            predicted_costs(device, table),
            tuple(by_id[one.architecture_id] for one in ranking.ranked),
            ranking.indicator,
            read_json(saved, DISTRIBUTION) if saved.is_file() else None,
        )

    def allows(self, architecture: Architecture) -> bool:
        """Whether a network is in the device's space and meets all its budgets."""
        return self.contains(architecture) and total_excess(architecture, self.limits) <= _ROUNDING

    def contains(self, architecture: Architecture) -> bool:
        """Whether a network is in the device's space, regardless of budgets."""
        try:
            self.space.choices(architecture)
        except SpaceError:
            return False
        return True

    @property
    def axis(self) -> str:
        """The cost axis of its Pareto front: that of its first budget, or FLOPs."""
        return self.limits[0].key if self.limits else "flops"

    @property
    def budget(self) -> float | None:
        """The budget on that axis, without margin; None if there is no predicted one."""
        return getattr(self.device.budget, self.axis) if self.limits else None
