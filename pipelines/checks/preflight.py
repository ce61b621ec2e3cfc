"""Checks before a run, so that an error in the params costs seconds and not an hour.

All problems are reported together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundles.signature import check_private_key
from core.files import read_json
from core.settings import ParamsError
from core.system import describe_os_error
from data.check import check_images, check_source
from data.dataset import DatasetInfo
from data.settings import DataParams
from devices.device import NAME, Device, ImportedTable
from devices.fleet.settings import FleetParams
from devices.latency.budgets import read_latency_table
from devices.latency.device_space import check_allowed, device_space
from devices.latency.feasibility import Ends, check_feasible, measure_ends
from devices.latency.table import LatencyTable
from devices.measure.interleaved import MeasurementError
from devices.measure.target import open_target
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from devices.runtimes.registry import backend
from models.search.algorithms import ALGORITHMS
from models.search.settings import SearchParams
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.limits import InfeasibleBudgetError
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from models.training.teachers.check import check_teacher
from pipelines.checks.cores import check_threads
from pipelines.checks.outputs import foreign_problems
from pipelines.checks.params import Bound, bind_params, problem_list
from pipelines.checks.paths import path_problems
from pipelines.checks.targets import SHORT, place_problems
from pipelines.graph import GraphError
from pipelines.plan import Plan, make_plan

REFUSAL_FACTOR = 1.3
"""A latency budget is refused if the interval's lower end is more than this factor above it."""

MIN_FREE_BYTES = 50_000_000
"""Smallest free disk space in bytes: for artifacts, DVC's copy of them, and logs."""


class PreflightError(ValueError):
    """A check failed, and nothing was started; the message lists all problems."""


@dataclass(frozen=True)
class Setting:
    """Inputs of a budget's feasibility check besides the device.

    Attributes:
        space: the whole search space, for the images' shape.
        tables: latency tables that are up to date, by device.
        ends: cached measurements of the smallest and largest network, for devices without such
            a table; None where they could not be measured.
    """

    space: SearchSpace
    tables: Mapping[str, LatencyTable]
    ends: dict[str, Ends | None] = field(default_factory=dict)


def preflight(root: Path, again: str | None = None, offline: bool = False) -> Plan:
    """Check params, devices, measurement targets, runtimes, data, space and budgets.

    Args:
        root: the repository.
        again: a device to be measured again, even if its table is up to date.
        offline: whether that device is measured offline, and its table imported.

    Returns:
        The plan of a full run.

    Raises:
        PreflightError: at least one check failed.
        ParamsError: the params file cannot be read at all.
    """
    bound = bind_params(root)
    if offline:
        bound = _assume_table(bound, again)
    problems = [*bound.problems, *device_problems(bound)]
    if misplaced := path_problems(root, bound.values):
        # DVC and the later checks must not read such a path.
        raise PreflightError(problem_list([*problems, *misplaced]))
    problems += problems_of(check_disk, root)
    if "data" in bound.values:
        problems += problems_of(check_images, bound.values["data"])
    plan = None
    # DVC needs valid sections, and its own messages would hide the problems.
    if not problems:
        try:
            plan = make_plan(root)
            problems += foreign_problems(root, plan.graph, plan.stale)
        except GraphError as error:
            problems.append(str(error))
    if "bundle" in bound.values:
        problems += problems_of(check_signing, root, bound.values["bundle"].signing_key)
    if "search" in bound.values:
        problems += problems_of(check_start, root, bound.values["search"].start_from)
    if {"search", "fleet"} <= bound.values.keys():
        problems += problems_of(check_sharing, bound.values["fleet"], bound.values["search"])
    if "data" in bound.values:
        problems += problems_of(check_data, root, bound.values["data"], plan)
    if {"data", "teacher"} <= bound.values.keys():
        problems += problems_of(check_user_teacher, root, bound, plan)
    if plan is not None:
        problems += place_problems(root, bound.values["devices"], plan, again)
    if {"data", "space"} <= bound.values.keys():
        # Measuring takes seconds, so it is done only without other problems.
        problems += _budget_problems(root, bound, plan, measure=not problems)
    if problems:
        raise PreflightError(problem_list(list(dict.fromkeys(problems))))
    assert plan is not None, "without problems there is a plan"
    return plan


def check_disk(root: Path) -> None:
    """Check the free disk space.

    Raises:
        PreflightError: there is too little; the message has the free space.
    """
    free = shutil.disk_usage(root).free
    if free < MIN_FREE_BYTES:
        raise PreflightError(
            f"the disk of {root} has {free / 1e6:.0f} MB left, and a run needs at least "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB: free some space."
        )


def device_problems(bound: Bound) -> list[str]:
    """Problems of the devices: names, runtimes, settings."""
    if "devices" not in bound.values:
        return []
    devices: Mapping[str, Device] = bound.values["devices"]
    if not devices:
        return ["devices: at least one device is required."]
    problems = []
    for name, device in devices.items():
        if NAME.fullmatch(name) is None:
            problems.append(
                f"devices.{name}: a device's name has only lower-case letters, digits, - and _, "
                "and begins and ends with a letter or digit."
            )
        problems += [f"devices.{name}.{text}" for text in problems_of(check_device, device)]
    return problems


def check_device(device: Device) -> None:
    """Check a device's runtime, its settings, its allowed operators and its threads.

    Raises:
        ValueError: a check failed; the message has the fix.
    """
    backend(device.backend).check(device)
    check_allowed(device)
    check_threads(device)


def check_signing(root: Path, key: str | None) -> None:
    """Check that the signing key can sign.

    Raises:
        SignatureError: it cannot; the message has the fix.
    """
    if key is not None:
        check_private_key(root / key)


def check_start(root: Path, file: str) -> None:
    """Check that the start of the search is a saved distribution.

    Raises:
        FileFormatError: the file is missing or has another schema.
    """
    read_json(root / file, DISTRIBUTION)


def check_sharing(fleet: FleetParams, search: SearchParams) -> None:
    """Check that devices with a shared network do not fine-tune their own supernets.

    Raises:
        ParamsError: both are set.
    """
    if fleet.share and search.weights.learn:
        raise ParamsError(
            "fleet.share: devices cannot share a network if each has a supernet of its own "
            "(search.weights.learn). Set one of the two to false."
        )


def check_data(root: Path, params: DataParams, plan: Plan | None) -> None:
    """Check the source of the data set.

    Raises:
        DataError: it cannot be used; the message has the fix.
    """
    fetched = None if plan is None else root / plan.graph["fetch"].outs[0]
    check_source(params, fetched)


def check_user_teacher(root: Path, bound: Bound, plan: Plan | None) -> None:
    """Check that a teacher provided by the user fits the data set.

    Raises:
        UserError: it does not; the message has the fix.
    """
    teacher, info = bound.values["teacher"], None
    if plan is not None and "prepare" not in plan.stale:
        info = DatasetInfo.read(root / plan.graph["prepare"].outs[0])
    check_teacher(teacher, root / teacher.file, bound.values["data"].size, info, OnnxRuntimeSession)


def read_setting(root: Path, bound: Bound, plan: Plan | None) -> Setting:
    """Read the search space and the latency tables that are up to date.

    Before the data set is prepared, its channels and classes are unknown. One channel and ten
    classes are assumed, which gives nearly the smallest possible networks.

    Raises:
        SpaceError: the space file is invalid or does not fit the images.
    """
    size, file = bound.values["data"].size, root / bound.values["space"].file
    shape, classes = (1, size, size), 10
    tables: dict[str, LatencyTable] = {}
    if plan is not None:
        if "prepare" not in plan.stale:
            info = DatasetInfo.read(root / plan.graph["prepare"].outs[0])
            shape, classes = info.image_shape, len(info.classes)
        for name in plan.graph.devices:
            stage = plan.graph[f"profile@{name}"]
            if stage.name not in plan.stale:
                tables[name] = read_latency_table(root / stage.outs[0])
    return Setting(SearchSpace.load(file, shape, classes), tables)


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
    ends = measure_extremes(name, device, setting)
    if ends is None:
        return
    allowed = getattr(device.budget, key)
    least, (low, _) = ends.least(key)
    # If the interval contains the budget, the stage `profile` decides.
    if low > allowed * REFUSAL_FACTOR:
        raise InfeasibleBudgetError(
            f"no architecture of space '{space.name}' keeps {key} within {allowed:g} on '{name}': "
            f"the smallest, measured just now, needs {least:.3g}. Raise "
            f"devices.{name}.budget.{key} or add smaller options to the space."
        )


def check_search(name: str, device: Device, setting: Setting, params: SearchParams) -> None:
    """Check that the algorithm can search the device's space.

    Raises:
        ValueError: it cannot; the message has the fix.
    """
    groups = device_space(setting.space, name, device).space.groups
    sizes = [len(group.candidates) for group in groups]
    ALGORITHMS[params.algorithm].check_space(sizes, params)


def measure_extremes(name: str, device: Device, setting: Setting) -> Ends | None:
    """Measure the smallest against the largest network of the device's space; cached.

    None if the device cannot be measured from this machine or is busy: the stage `profile` has
    longer timeouts.
    """
    if name not in setting.ends:
        setting.ends[name] = None
        if not open_target(name, device, SHORT).why_not_measured:
            space = device_space(setting.space, name, device).space
            with suppress(MeasurementError):
                setting.ends[name] = measure_ends(space, name, device, SHORT)
    return setting.ends[name]


def problems_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """Run a check; returns its error message, or nothing."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    except OSError as error:  # an unreadable folder or file
        return [describe_os_error(error)]
    return []


def _assume_table(bound: Bound, name: str | None) -> Bound:
    """The params as if a device's table were already imported, so that no check measures it."""
    devices = dict(bound.values.get("devices", {}))
    if name not in devices:
        return bound
    future = ImportedTable(file="the table to import", sha256="0" * 64)
    devices[name] = devices[name].model_copy(update={"table": future, "agent": None})
    return Bound({**bound.values, "devices": devices}, bound.problems)


def _budget_problems(root: Path, bound: Bound, plan: Plan | None, measure: bool) -> list[str]:
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
