"""`netwright doctor`: runtimes, devices and their budgets, data, resources."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.settings import ParamsError
from devices.device import Device, DeviceError
from devices.latency.device_space import device_space
from devices.measure.target import open_target
from devices.runtimes.registry import BACKENDS
from pipelines.checks.budgets import Setting, read_setting
from pipelines.checks.params import Bound, bind_params, problem_list, problems_of
from pipelines.checks.preflight import check_device, check_params
from pipelines.checks.targets import SHORT, agent_problems, imported_problems, stale_tables
from pipelines.plan import Plan
from pipelines.show.budget_table import BudgetRow, budget_rows, remarks
from pipelines.tables import print_table, wide_console

GOOD, BAD = "[green]yes[/]", "[red]no[/]"


def examine(console: Console, root: Path) -> bool:
    """Print the state of this machine; returns whether everything in the params can run.

    Raises:
        ParamsError: the params file cannot be read at all.
    """
    wide = wide_console(console)
    print_table(console, runtimes_table())
    bound = bind_params(root)
    try:
        plan, problems = check_params(root, bound)
    except ParamsError as error:  # a path that lies in an output
        wide.print(escape(str(error)), style="red", highlight=False)
        return False
    if "data" in bound.values:
        wide.print(f"data: {data_line(root, bound, plan)}", highlight=False)
    if {"data", "space", "devices"} <= bound.values.keys():
        try:
            setting = read_setting(root, bound, plan)
        except ValueError as error:
            problems.append(str(error))
        else:
            problems += show_devices(wide, root, bound.values["devices"], setting, plan)
    wide.print(resources_line(root), highlight=False)
    if problems:
        wide.print(escape(problem_list(problems)), style="red", highlight=False)
    return not problems


def show_devices(
    console: Console,
    root: Path,
    devices: dict[str, Device],
    setting: Setting,
    plan: Plan | None,
) -> list[str]:
    """Print devices, budgets and stale latency tables; returns the problems found."""
    problems = imported_problems(root, devices)
    reached = {}
    for name, device in devices.items():
        absent = [] if device.agent is None else agent_problems(name, device)
        problems += absent
        if not absent:
            reached[name] = device
    found = {name: budget_rows(name, device, setting) for name, device in reached.items()}
    print_table(console, devices_table(reached, found))
    loose = [text for name, (rows, _) in found.items() for text in remarks(name, rows, setting)]
    for note in [*offline_notes(reached), *space_notes(devices, setting), *loose]:
        console.print(escape(note), highlight=False)
    if plan is not None:
        for message in stale_tables(root, devices, plan).values():
            console.print(escape(message), style="yellow", highlight=False)
    return problems + [problem for _, wrong in found.values() for problem in wrong]


def offline_notes(devices: dict[str, Device]) -> list[str]:
    """Why devices cannot be measured from this machine, unless the runtimes table says it."""
    found = []
    for name, device in devices.items():
        if not problems_of(check_device, device):
            reason = open_target(name, device, SHORT).why_not_measured
            if reason and reason != BACKENDS[device.backend].capabilities().reason:
                found.append(f"'{name}' is not measured: {reason}")
    return found


def space_notes(devices: dict[str, Device], setting: Setting) -> list[str]:
    """Parts of the space that are excluded for devices that run int8."""
    found: list[str] = []
    for name, device in devices.items():
        with suppress(DeviceError):
            check_device(device)
            found += device_space(setting.space, name, device).remarks
    return found


def runtimes_table() -> Table:
    """One row per backend: what it can do on this machine, and what to install for the rest."""
    headings = ("backend", "runtime", "version", "builds", "runs", "measures", "precisions")
    missing = Column("missing", overflow="fold")
    table = Table(*headings, missing, title="Runtimes on this machine", title_justify="left")
    for name, runtime in BACKENDS.items():
        able = runtime.capabilities()
        table.add_row(
            *(name, runtime.runtime, runtime.version()),
            *(GOOD if can else BAD for can in (able.can_build, able.can_run, able.can_measure)),
            *(", ".join(runtime.native_precisions), escape(able.reason)),
        )
    return table


def devices_table(
    devices: dict[str, Device], found: dict[str, tuple[list[BudgetRow], list[str]]]
) -> Table:
    """One row per budget, from `budget_rows` of each device."""
    headings = ("device", "backend", "budget", "allowed", "smallest", "largest", "feasible")
    table = Table(*headings, title="Devices and budgets", title_justify="left")
    for name, device in devices.items():
        rows, wrong = found[name]
        if not rows:
            table.add_row(name, escape(device.backend), "", "", "", "", BAD)
        for row in rows:
            verdict = BAD if wrong else ("" if row.smallest is None else GOOD)
            table.add_row(name, device.backend, row.key, *row.cells(), verdict)
    return table


def data_line(root: Path, bound: Bound, plan: Plan | None) -> str:
    """The data source and the location of its original files."""
    params = bound.values["data"]
    folder = root / params.path
    if folder.is_dir():
        return f"{params.source}, in {params.path}"
    will = plan is not None and params.path in plan.graph["fetch"].outs
    return f"{params.source}, {'will be downloaded to' if will else 'missing at'} {params.path}"


def resources_line(root: Path) -> str:
    """Available cores, threads, memory and disk."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(root)
    return (
        f"machine: {psutil.cpu_count(logical=False)} cores, {os.cpu_count()} threads "
        f"(PyTorch uses {torch.get_num_threads()}), "
        f"{memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB memory free, "
        f"{disk.free / 2**30:.0f} GiB disk free"
    )
