"""Checks before a run, so that an error in the params costs seconds and not an hour.

All problems are reported together.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bundles.signature import load_private_key
from core.settings import ParamsError
from data.check import check_images, check_source
from data.dataset import DatasetInfo
from devices.device import NAME, Device, ImportedTable
from devices.latency.device_space import check_allowed
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from devices.runtimes.registry import backend
from models.search.race.ledger import read_ledger
from models.search.start import read_start
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from pipelines.checks.budgets import budget_problems
from pipelines.checks.outputs import foreign_problems
from pipelines.checks.params import Bound, bind_params, problem_list, problems_of
from pipelines.checks.paths import path_problems
from pipelines.checks.targets import check_threads, place_problems
from pipelines.graph import GraphError
from pipelines.plan import Plan, make_plan

MIN_FREE_BYTES = 50_000_000
"""Smallest free disk space in bytes: for artifacts, DVC's copy of them, and logs."""
_ANY_CLASSES = 10
"""The classes are known only after `prepare`; weights fit for any number of them."""


def preflight(root: Path, again: str | None = None, offline: bool = False) -> Plan:
    """Check everything before a run, and return the plan of a full run.

    Args:
        root: the repository.
        again: a device to be measured again, even if its table is up to date.
        offline: whether that device is measured offline, and its table imported.

    Raises:
        ParamsError: a check failed, or the file cannot be read; the message lists all problems.
    """
    bound = bind_params(root)
    if offline:
        bound = _assume_table(bound, again)
    plan, problems = check_params(root, bound)
    if plan is not None:
        problems += place_problems(root, bound.values["devices"], plan, again)
    # Measuring takes seconds, so it is done only without other problems.
    problems += budget_problems(root, bound, plan, measure=not problems)
    if problems or plan is None:
        raise ParamsError(problem_list(list(dict.fromkeys(problems))))
    return plan


def check_params(root: Path, bound: Bound) -> tuple[Plan | None, list[str]]:
    """Check all that needs no measurement; returns the plan, if DVC can make one, and the problems.

    Raises:
        ParamsError: a path lies in an output; DVC and the later checks must not read it.
    """
    problems = [*bound.problems, *_device_problems(bound)]
    if misplaced := path_problems(root, bound.values):
        raise ParamsError(problem_list([*problems, *misplaced]))
    problems += problems_of(check_disk, root)
    if "data" in bound.values:
        problems += problems_of(check_images, bound.values["data"])
    plan = None
    # DVC needs valid sections, and its own messages would hide the problems.
    if not problems:
        try:
            plan = make_plan(root)
        except GraphError as error:
            problems.append(str(error))
        else:
            problems += foreign_problems(root, plan)
    return plan, [*problems, *_section_problems(root, bound, plan)]


def _section_problems(root: Path, bound: Bound, plan: Plan | None) -> list[str]:
    """Problems of what single sections of the params refer to."""
    values, problems = bound.values, list[str]()
    if "roots" in values and (key := values["roots"].signing_key) is not None:
        problems += problems_of(load_private_key, root / key)
    if "search" in values:
        problems += problems_of(read_start, root / values["search"].start_from)
    if "race" in values:
        problems += problems_of(read_ledger, root / values["race"].ledger)
    if "data" in values:
        fetched = None if plan is None else root / plan.graph["fetch"].outs[0]
        problems += problems_of(check_source, values["data"], fetched)
    if {"data", "supernet"} <= values.keys():
        augment = values["data"].augment.of(values["data"].source)
        problems += problems_of(values["supernet"].check_views, augment)
    if {"data", "supernet", "space"} <= values.keys():
        problems += problems_of(check_start, root, bound)
    if {"data", "teacher"} <= values.keys():
        problems += problems_of(check_user_teacher, root, bound, plan)
    return problems


def check_disk(root: Path) -> None:
    """Raise ParamsError if there is too little free disk space."""
    free = shutil.disk_usage(root).free
    if free < MIN_FREE_BYTES:
        raise ParamsError(
            f"the disk of {root} has {free / 1e6:.0f} MB left, and a run needs at least "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB: free some space."
        )


def _device_problems(bound: Bound) -> list[str]:
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
    """Raise ValueError if a runtime, a setting, an operator or the threads cannot be used."""
    backend(device.backend).check(device)
    check_allowed(device)
    check_threads(device)


def check_start(root: Path, bound: Bound) -> None:
    """Raise UserError if the weights from which the supernet starts do not fit the space."""
    supernet, size = bound.values["supernet"], bound.values["data"].size
    with suppress(SpaceError):  # reported with the space
        space = SearchSpace.load(root / bound.values["space"].file, (3, size, size), _ANY_CLASSES)
        supernet.check_start(root, space)


def check_user_teacher(root: Path, bound: Bound, plan: Plan | None) -> None:
    """Raise UserError if a teacher provided by the user does not fit the data set."""
    teacher, info = bound.values["teacher"], None
    if plan is not None and "prepare" not in plan.stale:
        info = DatasetInfo.read(root / plan.graph["prepare"].outs[0])
    teacher.check(root, bound.values["data"].size, info, OnnxRuntimeSession)


def _assume_table(bound: Bound, name: str | None) -> Bound:
    """The params as if a device's table were already imported, so that no check measures it."""
    devices = dict(bound.values.get("devices", {}))
    if name not in devices:
        return bound
    future = ImportedTable(file="the table to import", sha256="0" * 64)
    devices[name] = devices[name].model_copy(update={"table": future, "agent": None})
    return Bound({**bound.values, "devices": devices}, bound.problems)
