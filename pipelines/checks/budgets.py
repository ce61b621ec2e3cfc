"""Checks that the search space has networks that meet the devices' budgets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from data.dataset import DatasetInfo
from devices.device import Device
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible, least_latency, measure_ends
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement, MeasurementError
from devices.measure.target import open_target
from models.search.algorithms import ALGORITHMS
from models.search.settings import SearchParams
from models.space.limits import InfeasibleBudgetError
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from pipelines.checks.params import Bound, problems_of
from pipelines.checks.targets import SHORT
from pipelines.plan import Plan

REFUSAL_FACTOR = 1.3
"""A latency budget is refused if the interval's lower end is more than this factor above it."""


@dataclass(frozen=True)
class Setting:
    """Inputs of a budget's feasibility check besides the device."""

    space: SearchSpace
    """The whole search space, for the images' shape."""
    tables: Mapping[str, LatencyTable]
    """Latency tables that are up to date, by device."""
    ends: dict[str, Measurement | None] = field(default_factory=dict)
    """Cached measurements of the smallest and largest network, for devices without such a table;
    None where they could not be measured."""
    prepared: bool = True
    """Whether the data set's channels and classes are known, not assumed."""


def budget_problems(root: Path, bound: Bound, plan: Plan | None, measure: bool) -> list[str]:
    """Problems of the space, of the devices' budgets in it, and of its search.

    With `measure`, networks are measured where no latency table is up to date.
    """
    if not {"data", "space"} <= bound.values.keys():
        return []
    try:
        setting = read_setting(root, bound, plan)
    except SpaceError as error:
        return [str(error)]
    problems = []
    for name, device in bound.values.get("devices", {}).items():
        problems += problems_of(check_budget, name, device, setting, measure)
        if "search" in bound.values:
            problems += problems_of(check_search, name, device, setting, bound.values["search"])
    return problems


def read_setting(root: Path, bound: Bound, plan: Plan | None) -> Setting:
    """Read the search space and the latency tables that are up to date.

    Before the data set is prepared, its channels and classes are unknown. One channel and ten
    classes are assumed, which gives nearly the smallest possible networks.
    """
    size, file = bound.values["data"].size, root / bound.values["space"].file
    shape, classes = (1, size, size), 10
    tables: dict[str, LatencyTable] = {}
    prepared = plan is not None and "prepare" not in plan.stale
    if plan is not None:
        if prepared:
            info = DatasetInfo.read(root / plan.graph["prepare"].outs[0])
            shape, classes = info.image_shape, len(info.classes)
        for name in plan.graph.devices:
            stage = plan.graph[f"profile@{name}"]
            if stage.name not in plan.stale:
                tables[name] = DeviceProfile.read(root / stage.outs[0]).table
    return Setting(SearchSpace.load(file, shape, classes), tables, prepared=prepared)


def check_budget(name: str, device: Device, setting: Setting, measure: bool = True) -> None:
    """Check that at least one architecture of the device's space meets its budget.

    Without an up-to-date latency table, the smallest network is measured (if `measure`); the
    stage `profile`, which runs before any training, repeats the check exactly.

    Raises:
        InfeasibleBudgetError: none does; the message has the nearest architecture and the fix.
        DeviceError: the device's space would be empty.
    """
    space, table = device_space(setting.space, name, device).space, setting.tables.get(name)
    check_feasible(space, name, device, table)
    key = device.budget.latency_key
    if not measure or table is not None or key is None or device.budget.latency_share == 1:
        return
    if (ends := measure_extremes(name, device, setting)) is None:
        return
    allowed = getattr(device.budget, key)
    least, (low, _) = least_latency(ends, key)
    # If the interval contains the budget, the stage `profile` decides.
    if low > allowed * REFUSAL_FACTOR:
        raise InfeasibleBudgetError(
            f"no architecture of space '{space.name}' keeps {key} within {allowed:g} on '{name}': "
            f"the smallest, measured just now, needs {least:.3g}. Raise "
            f"devices.{name}.budget.{key} or add smaller options to the space."
        )


def check_search(name: str, device: Device, setting: Setting, params: SearchParams) -> None:
    """Raise ValueError if the algorithm cannot search the device's space."""
    groups = device_space(setting.space, name, device).space.groups
    sizes = [len(group.candidates) for group in groups]
    ALGORITHMS[params.algorithm.name].check_space(sizes, params.algorithm)


def measure_extremes(name: str, device: Device, setting: Setting) -> Measurement | None:
    """Measure the smallest against the largest network of the device's space; cached.

    None if the device cannot be measured from this machine or is busy: the stage `profile` has
    longer timeouts.
    """
    if name not in setting.ends:
        setting.ends[name] = None
        target = open_target(name, device, SHORT)
        if not target.why_not_measured:
            space = device_space(setting.space, name, device).space
            with suppress(MeasurementError):
                setting.ends[name] = measure_ends(space, target)
    return setting.ends[name]
