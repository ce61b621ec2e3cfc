"""What is checked before anything starts, so that a mistake costs seconds and not an hour.

All that is wrong is listed together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import DatasetInfo
from devices.backends import backend
from devices.bench import bench_of
from devices.device import NAME, Device, ImportedTable
from devices.latency import LatencyTable
from devices.measure import MeasurementError
from models.distribution import SCHEMA as DISTRIBUTION
from models.space import SearchSpace
from models.space_spec import SpaceError
from pipelines.cores import check_threads
from pipelines.graph import GraphError
from pipelines.outputs import foreign_problems
from pipelines.params import Bound, bind_params, problem_list
from pipelines.paths import path_problems
from pipelines.places import SHORT, place_problems
from pipelines.plan import Plan, make_plan
from stages.bundle.signature import check_private_key
from stages.common.budgets import InfeasibleBudgetError, read_latency_table
from stages.common.data_params import DataParams
from stages.common.device_space import check_allowed, device_space
from stages.common.files import read_json
from stages.common.params import ParamsError
from stages.common.system import explained
from stages.fleet.params import FleetParams
from stages.prepare.check import check_images, check_source
from stages.profile.feasible import Ends, check_feasible, measure_ends
from stages.search.algorithms import ALGORITHMS
from stages.search.params import SearchParams
from stages.teacher.check import check_teacher

CLEARLY = 1.3
"""How far past a latency budget a quick measurement's whole interval must be to refuse it."""

LEAST_FREE = 50_000_000
"""Bytes of disk that every run needs: for its artifacts, DVC's copy of them, and logs."""


class PreflightError(ValueError):
    """Something is wrong, and nothing was started; the message lists all of it."""


@dataclass(frozen=True)
class Setting:
    """What the feasibility of a budget depends on besides the device.

    Attributes:
        space: the whole search space, for the images' shape.
        tables: latency tables that are up to date, by device.
        ends: what was measured of devices without such a table, by device: once, for whoever
            asks; None where it could not be measured.
    """

    space: SearchSpace
    tables: Mapping[str, LatencyTable]
    ends: dict[str, Ends | None] = field(default_factory=dict)


def preflight(root: Path, again: str | None = None, elsewhere: bool = False) -> Plan:
    """Check params, devices, where they are, runtimes, data, space and budgets.

    Args:
        root: the repository.
        again: a device that is about to be measured again, whatever its table says.
        elsewhere: whether that device is measured by somebody else, who sends a table.

    Returns:
        What a run of everything would do.

    Raises:
        PreflightError: at least one of them cannot work.
        ParamsError: the params file cannot be read at all.
    """
    bound = bind_params(root)
    if elsewhere:
        bound = _with_table(bound, again)
    problems = [*bound.problems, *device_problems(bound)]
    if misplaced := path_problems(root, bound.values):
        # Nothing may read such a path, and DVC may not even be asked about it.
        raise PreflightError(problem_list([*problems, *misplaced]))
    problems += problem_of(check_disk, root)
    if "data" in bound.values:
        problems += problem_of(check_images, bound.values["data"])
    plan = None
    # DVC needs these sections whole, and its own messages would hide what is wrong with them.
    if not problems:
        try:
            plan = make_plan(root)
            problems += foreign_problems(root, plan.graph, plan.stale)
        except GraphError as error:
            problems.append(str(error))
    if "bundle" in bound.values:
        problems += problem_of(check_signing, root, bound.values["bundle"].signing_key)
    if "search" in bound.values:
        problems += problem_of(check_start, root, bound.values["search"].start_from)
    if {"search", "fleet"} <= bound.values.keys():
        problems += problem_of(check_sharing, bound.values["fleet"], bound.values["search"])
    if "data" in bound.values:
        problems += problem_of(check_data, root, bound.values["data"], plan)
    if {"data", "teacher"} <= bound.values.keys():
        problems += problem_of(check_own_teacher, root, bound, plan)
    if plan is not None:
        problems += place_problems(root, bound.values["devices"], plan, again)
    if {"data", "space"} <= bound.values.keys():
        # Measuring takes seconds, and is for params that are right in everything else.
        problems += _budget_problems(root, bound, plan, measure=not problems)
    if problems:
        raise PreflightError(problem_list(list(dict.fromkeys(problems))))
    assert plan is not None, "without problems there is a plan"
    return plan


def check_disk(root: Path) -> None:
    """Refuse a disk on which nothing could be written.

    Raises:
        PreflightError: the message has the room there is.
    """
    free = shutil.disk_usage(root).free
    if free < LEAST_FREE:
        raise PreflightError(
            f"the disk of {root} has {free / 1e6:.0f} MB left, and even the smallest run needs "
            f"{LEAST_FREE / 1e6:.0f} MB: free some space."
        )


def device_problems(bound: Bound) -> list[str]:
    """What is wrong with the devices: their names, their runtimes, their settings."""
    if "devices" not in bound.values:
        return []
    devices: Mapping[str, Device] = bound.values["devices"]
    if not devices:
        return ["devices: at least one is needed."]
    problems = []
    for name, device in devices.items():
        if NAME.fullmatch(name) is None:
            problems.append(
                f"devices.{name}: a device's name has lower-case letters, digits, - and _, "
                "and begins and ends with a letter or digit."
            )
        problems += [f"devices.{name}.{text}" for text in problem_of(check_device, device)]
    return problems


def check_device(device: Device) -> None:
    """Refuse a device whose runtime is unknown, missing or does not offer what is asked.

    What its owner allows is checked too.

    Raises:
        ValueError: the message has the way out.
    """
    backend(device.backend).check(device)
    check_allowed(device)
    check_threads(device)


def check_signing(root: Path, key: str | None) -> None:
    """Refuse a key that could not sign what the run will build.

    Raises:
        SignatureError: the message has the way out.
    """
    if key is not None:
        check_private_key(root / key)


def check_start(root: Path, file: str) -> None:
    """Refuse a start of the search that is no saved distribution.

    Raises:
        FileFormatError: the file is missing or of another kind.
    """
    read_json(root / file, DISTRIBUTION)


def check_sharing(fleet: FleetParams, search: SearchParams) -> None:
    """Refuse devices that share a network and have supernets of their own.

    Raises:
        ParamsError: both are asked for.
    """
    if fleet.share and search.weights.learn:
        raise ParamsError(
            "fleet.share: devices cannot share a network that each slices from a supernet of its "
            "own (search.weights.learn). Set one of the two to false."
        )


def check_data(root: Path, params: DataParams, plan: Plan | None) -> None:
    """Refuse a source that cannot hold the data set.

    Raises:
        DataError: the message has the way out.
    """
    fetched = None if plan is None else root / plan.graph["fetch"].outs[0]
    check_source(params, fetched)


def check_own_teacher(root: Path, bound: Bound, plan: Plan | None) -> None:
    """Refuse a teacher of the user's own that cannot teach this data set.

    Raises:
        TeacherError: the message has the way out.
    """
    teacher, info = bound.values["teacher"], None
    if plan is not None and "prepare" not in plan.stale:
        info = DatasetInfo.read(root / plan.graph["prepare"].outs[0])
    check_teacher(teacher, root / teacher.file, bound.values["data"].size, info)


def read_setting(root: Path, bound: Bound, plan: Plan | None) -> Setting:
    """The space for the images at hand, and the latency tables that are up to date.

    Before the data set is prepared its channels and classes are unknown; one channel and ten
    classes stand for them, which makes the smallest networks there can be, nearly.

    Raises:
        SpaceError: the space's file breaks a rule or does not suit the images.
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
    """Refuse a budget that no architecture of the device's space can keep.

    Without a latency table that is up to date, the space's smallest network is measured (if
    `measure`); the stage `profile`, which runs before any training, then decides exactly.

    Raises:
        InfeasibleBudgetError: the message has the nearest architecture and the way out.
        DeviceError: nothing would be left of the space for this device.
    """
    space, table = device_space(setting.space, name, device).space, setting.tables.get(name)
    check_feasible(space, name, device, table)
    key = device.budget.latency_key
    if not measure or table is not None or key is None or device.budget.latency_share == 1:
        return
    ends = ends_of(name, device, setting)
    if ends is None:
        return
    wanted = getattr(device.budget, key)
    least, (low, _) = ends.least(key)
    # Where the interval straddles the budget, the stage `profile` decides.
    if low > wanted * CLEARLY:
        raise InfeasibleBudgetError(
            f"no architecture of space '{space.name}' keeps {key} within {wanted:g} on '{name}': "
            f"the smallest, measured just now, needs {least:.3g}. Raise "
            f"devices.{name}.budget.{key} or add smaller options to the space."
        )


def check_search(name: str, device: Device, setting: Setting, params: SearchParams) -> None:
    """Refuse an algorithm that cannot search the device's space.

    Raises:
        ValueError: it cannot; the message has the way out.
    """
    groups = device_space(setting.space, name, device).space.groups
    sizes = [len(group.candidates) for group in groups]
    ALGORITHMS[params.algorithm].check_space(sizes, params)


def ends_of(name: str, device: Device, setting: Setting) -> Ends | None:
    """The device's smallest network measured against its largest, once for all that ask.

    None where the device cannot be measured from here, or not now: the stage `profile` measures
    with more patience.
    """
    if name not in setting.ends:
        setting.ends[name] = None
        if not bench_of(name, device, SHORT).why_not_measured:
            space = device_space(setting.space, name, device).space
            with suppress(MeasurementError):
                setting.ends[name] = measure_ends(space, name, device, SHORT)
    return setting.ends[name]


def problem_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """What a check has to say: nothing, or its error's message."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    except OSError as error:  # a folder or file that may not be read
        return [explained(error)]
    return []


def _with_table(bound: Bound, name: str | None) -> Bound:
    """The params as if a device's table had come already: nothing here has to measure it."""
    devices = dict(bound.values.get("devices", {}))
    if name not in devices:
        return bound
    coming = ImportedTable(file="the table to come", sha256="0" * 64)
    devices[name] = devices[name].model_copy(update={"table": coming, "agent": None})
    return Bound({**bound.values, "devices": devices}, bound.problems)


def _budget_problems(root: Path, bound: Bound, plan: Plan | None, measure: bool) -> list[str]:
    try:
        setting = read_setting(root, bound, plan)
    except SpaceError as error:
        return [str(error)]
    problems = []
    for name, device in bound.values.get("devices", {}).items():
        problems += problem_of(check_budget, name, device, setting, measure)
        if "search" in bound.values:
            problems += problem_of(check_search, name, device, setting, bound.values["search"])
    return problems
