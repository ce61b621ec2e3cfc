"""Offline measurement of a device: export the models, import the measured latency table."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from ruamel.yaml import YAML

from core.errors import UserError
from core.files import sha256_file, write_bytes
from devices.device import Device, ImportedTable
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible
from devices.latency.offline import export_models, import_table
from devices.latency.settings import ProfileParams
from devices.runtimes.registry import backend
from models.space.space import SearchSpace
from pipelines.checks.budgets import read_setting
from pipelines.checks.params import bind_params, read_params
from pipelines.checks.paths import is_inside, read_paths
from pipelines.graph import PARAMS
from pipelines.plan import Plan, make_plan
from pipelines.run.remeasure import bring_up_to_date, remeasure

TABLES = "tables"
"""Folder of imported tables, from the repository's root; commit it."""


def export_models_for(console: Console, root: Path, plan: Plan, name: str, folder: Path) -> None:
    """Export the models, the table to fill in and the agent for an offline measurement.

    Raises:
        StageFailedError: the data set, which sets the models' input shape, cannot be prepared.
        UserError: the folder is not empty, or lies in a stage output.
    """
    for out in read_paths(root).outs:
        if is_inside(folder, root / out):
            raise UserError(
                f"--export-models {folder} lies in {out}, which is a stage output that a run "
                "replaces: choose a folder outside of it."
            )
    space, device, params = _prepare_setting(console, root, plan, name)
    export_models(space, name, device, backend(device.backend), params, folder, lambda _: None)
    console.print(
        f"{folder}: copy it to '{name}', follow its README.txt, then run "
        f"netwright profile {name} --import {folder / 'table.csv'}",
        highlight=False,
    )


def import_device_table(console: Console, root: Path, plan: Plan, name: str, table: Path) -> None:
    """Import a latency table that was measured offline, and print its error.

    After all checks it is copied into the repository, and its path and hash are written to the
    device's params, on which the stage `profile` depends: later runs find the stage up to date,
    and do not measure the device.

    Raises:
        StageFailedError: the data set, which sets the models' input shape, cannot be prepared.
        ValueError: the table is invalid or its budget infeasible; nothing was replaced.
    """
    space, device, params = _prepare_setting(console, root, plan, name)
    content = table.read_bytes()
    target = f"{TABLES}/{name}.csv"
    known = ImportedTable(file=target, sha256=hashlib.sha256(content).hexdigest())
    # Also removes an agent, which would measure instead of the table.
    imported = Device.model_validate({**device.model_dump(), "table": known, "agent": None})
    _check_replaceable(root / target, content, device)
    found, _ = import_table(space, name, imported, backend(device.backend), params, table)
    check_feasible(space, name, imported, found)
    with _restore_on_error(root / PARAMS, root / target):
        write_bytes(root / target, content)
        # If params.yaml is a link, its target is written.
        write_bytes((root / PARAMS).resolve(), _insert_table(root / PARAMS, name, known))
        remeasure(console, root, make_plan(root), name, force=False)
    console.print(f"{target} is now the latency table of '{name}'; commit it with {PARAMS}.")


def _check_replaceable(file: Path, content: bytes, device: Device) -> None:
    """Refuse to overwrite a table that was not imported.

    Raises:
        UserError: the file is not the table in the device's params.
    """
    if not file.exists() or (file.is_file() and file.read_bytes() == content):
        return
    if device.table is None or not file.is_file() or sha256_file(file) != device.table.sha256:
        raise UserError(
            f"{file} exists already and is not the table in {PARAMS}: move it away first."
        )


def _prepare_setting(
    console: Console, root: Path, plan: Plan, name: str
) -> tuple[SearchSpace, Device, ProfileParams]:
    """Prepare the data set if needed; returns the device's space, the device and the params."""
    bring_up_to_date(console, root, plan, "prepare")
    values = read_params(root)
    setting = read_setting(root, bind_params(root), make_plan(root))
    device = values["devices"][name]
    return device_space(setting.space, name, device).space, device, values["profile"]


def _insert_table(params: Path, name: str, table: ImportedTable) -> bytes:
    """The params file with a device's table inserted; comments and order are preserved."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(params)
    device = content["devices"][name]
    device["table"] = table.model_dump()
    device.pop("agent", None)
    text = io.BytesIO()
    yaml.dump(content, text)
    return text.getvalue()


@contextmanager
def _restore_on_error(*files: Path) -> Iterator[None]:
    """Restore files if the block raises."""
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        yield
    except BaseException:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                write_bytes(file, content)
        raise
