"""Devices that are measured elsewhere: export what they need, import what they send back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from ruamel.yaml import YAML

from devices.backends import backend
from devices.device import Device, ImportedTable
from models.space import SearchSpace
from pipelines.graph import PARAMS
from pipelines.params import bind_params, read_params
from pipelines.paths import below, read_paths
from pipelines.plan import Plan, make_plan
from pipelines.preflight import read_setting
from pipelines.profile import bring_up_to_date, remeasure
from stages.common.device_space import device_space
from stages.common.files import sha256_file, write_bytes
from stages.profile.elsewhere import export_models, imported_table
from stages.profile.feasible import check_feasible
from stages.profile.params import ProfileParams
from stages.profile.table_file import TableError

TABLES = "tables"
"""Folder of imported tables, from the repository's root; it belongs into version control."""


def export_for(console: Console, root: Path, plan: Plan, name: str, folder: Path) -> None:
    """Write the models, the table to fill in and the agent that another building needs.

    Raises:
        StageFailedError: the data set, whose images the models are made for, cannot be prepared.
        TableError: the folder holds something already, or lies in an output.
    """
    for out in read_paths(root).outs:
        if below(folder, root / out):
            raise TableError(
                f"--export-models {folder} lies in {out}, which a run empties and writes: choose "
                "a folder of its own."
            )
    space, device, params = _setting_of(console, root, plan, name)
    export_models(space, name, device, backend(device.backend), params, folder, lambda _: None)
    console.print(
        f"{folder}: take it to '{name}', follow its README.txt, then run "
        f"netwright profile {name} --import {folder / 'table.csv'}",
        highlight=False,
    )


def import_table(console: Console, root: Path, plan: Plan, name: str, table: Path) -> None:
    """Make a table that was measured elsewhere the device's, and show how good it is.

    It is checked completely first. Then it is copied into the repository and named, with its
    hash, in the device's params, on which the stage `profile` depends: a later run finds it
    fresh, and never measures in its place.

    Raises:
        StageFailedError: the data set, whose images the models are made for, cannot be prepared.
        ValueError: the table, or the budget under it, cannot be used; nothing was replaced.
    """
    space, device, params = _setting_of(console, root, plan, name)
    content = table.read_bytes()
    target = f"{TABLES}/{name}.csv"
    known = ImportedTable(file=target, sha256=hashlib.sha256(content).hexdigest())
    # Also takes away an agent, which would measure in the table's place.
    imported = Device.model_validate({**device.model_dump(), "table": known, "agent": None})
    _check_replaceable(root / target, content, device)
    found, _ = imported_table(space, name, imported, backend(device.backend), params, table)
    check_feasible(space, name, imported, found)
    with _restored_on_error(root / PARAMS, root / target):
        write_bytes(root / target, content)
        # Where the params are a link, the file behind it is written.
        write_bytes((root / PARAMS).resolve(), _with_table(root / PARAMS, name, known))
        remeasure(console, root, make_plan(root), name, force=False)
    console.print(f"{target} is the latency table of '{name}' now; commit it with {PARAMS}.")


def _check_replaceable(file: Path, content: bytes, device: Device) -> None:
    """Refuse to write over a table that no import made.

    Raises:
        TableError: the file holds something that is in nobody's params.
    """
    if not file.exists() or (file.is_file() and file.read_bytes() == content):
        return
    if device.table is None or not file.is_file() or sha256_file(file) != device.table.sha256:
        raise TableError(
            f"{file} exists already and is not the table that {PARAMS} names: move it away first."
        )


def _setting_of(
    console: Console, root: Path, plan: Plan, name: str
) -> tuple[SearchSpace, Device, ProfileParams]:
    """The device's space for the data set at hand, which is prepared first where it is not."""
    bring_up_to_date(console, root, plan, "prepare")
    values = read_params(root)
    setting = read_setting(root, bind_params(root), make_plan(root))
    device = values["devices"][name]
    return device_space(setting.space, name, device).space, device, values["profile"]


def _with_table(params: Path, name: str, table: ImportedTable) -> bytes:
    """The params file with a device's table in it; comments and order stay."""
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
def _restored_on_error(*files: Path) -> Iterator[None]:
    """Put files back as they were when the block ends with an error."""
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
