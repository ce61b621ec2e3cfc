"""Measures a device again, or exchanges models and a latency table with an offline one."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from ruamel.yaml import YAML

from core.errors import UserError
from core.files import sha256_file, write_bytes
from devices.device import Device, ImportedTable
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible
from devices.latency.offline import export_models, import_table
from devices.latency.settings import ProfileParams
from models.space.space import SearchSpace
from pipelines.checks.budgets import read_setting
from pipelines.checks.params import bind_params, read_params
from pipelines.checks.paths import is_inside, read_paths
from pipelines.graph import PARAMS
from pipelines.plan import Plan, make_plan
from pipelines.run.execute import run_stages
from pipelines.tables import print_table
from pipelines.workspace import Workspace

TABLES = "tables"
"""Folder of imported tables, from the repository's root; commit it."""


def remeasure(console: Console, root: Path, plan: Plan, device: str, force: bool = True) -> None:
    """Bring the upstreams up to date, measure, and print the error of the latency model.

    Without `force` the device is measured only if its table is not up to date.

    Raises:
        RunFailedError: a stage failed, or the measurement was rejected; the previous table is
            still in place.
    """
    target = f"profile@{device}"
    table = root / plan.graph[target].outs[0]
    with _restore_on_error(Workspace(root), table):
        _bring_up_to_date(root, plan, target, force)
    _print_model_error(console, table)


def export_models_for(console: Console, root: Path, plan: Plan, name: str, folder: Path) -> None:
    """Export the models, the table to fill in and the agent for an offline measurement.

    Raises:
        RunFailedError: the data set, which sets the models' input shape, cannot be prepared.
        UserError: the folder is not empty, or lies in a stage output.
    """
    for out in read_paths(root).outs:
        if is_inside(folder, root / out):
            raise UserError(
                f"--export-models {folder} lies in {out}, which is a stage output that a run "
                "replaces: choose a folder outside of it."
            )
    space, device, params = _prepare_setting(root, plan, name)
    export_models(space, name, device, params, folder)
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
        RunFailedError: the data set, which sets the models' input shape, cannot be prepared.
        ValueError: the table is invalid or its budget infeasible; nothing was replaced.
    """
    space, device, params = _prepare_setting(root, plan, name)
    content = table.read_bytes()
    target = f"{TABLES}/{name}.csv"
    known = ImportedTable(file=target, sha256=hashlib.sha256(content).hexdigest())
    # Also removes an agent, which would measure instead of the table.
    imported = Device.model_validate({**device.model_dump(), "table": known, "agent": None})
    _check_replaceable(root / target, content, device)
    found, _ = import_table(space, name, imported, params, table)
    check_feasible(space, name, imported, found)
    params_file = (root / PARAMS).resolve()  # if params.yaml is a link, its target is written
    with _restore_on_error(Workspace(root), params_file, root / target):
        write_bytes(root / target, content)
        write_bytes(params_file, _insert_table(params_file, name, known))
        remeasure(console, root, make_plan(root), name, force=False)
    console.print(f"{target} is now the latency table of '{name}'; commit it with {PARAMS}.")


def _bring_up_to_date(root: Path, plan: Plan, target: str, force: bool = False) -> None:
    """Run one stage and its upstreams, where stale; with `force` the stage in any case."""
    needed = plan.graph.with_ancestors([target])
    forced = {target} if force else set[str]()
    wanted = forced | (plan.stale.keys() & needed)
    if wanted:
        run_stages(Workspace(root), plan.graph, wanted, jobs=1, forced=forced)


@contextmanager
def _restore_on_error(workspace: Workspace, *paths: Path) -> Iterator[None]:
    """Restore files and folders, which need not exist, if the block raises.

    DVC removes a stage's outputs before it runs the stage.
    """
    workspace.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.folder, prefix="kept-") as folder:
        copies = {path: Path(folder, str(number)) for number, path in enumerate(paths)}
        for path, copy in copies.items():
            if path.is_dir():
                shutil.copytree(path, copy)
            elif path.is_file():
                shutil.copyfile(path, copy)
        try:
            yield
        except BaseException:
            for path, copy in copies.items():
                _restore(path, copy)
            raise


def _restore(path: Path, copy: Path) -> None:
    if copy.is_file():
        write_bytes(path, copy.read_bytes())
    elif path.is_file():
        path.unlink()
    elif copy.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(copy, path)


def _check_replaceable(file: Path, content: bytes, device: Device) -> None:
    """Raise UserError if a file would be overwritten that is not the device's imported table."""
    if not file.exists() or (file.is_file() and file.read_bytes() == content):
        return
    if device.table is None or not file.is_file() or sha256_file(file) != device.table.sha256:
        raise UserError(
            f"{file} exists already and is not the table in {PARAMS}: move it away first."
        )


def _prepare_setting(
    root: Path, plan: Plan, name: str
) -> tuple[SearchSpace, Device, ProfileParams]:
    """Prepare the data set if needed; returns the device's space, the device and the params."""
    _bring_up_to_date(root, plan, "prepare")
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


def _print_model_error(console: Console, folder: Path) -> None:
    """Print the latency model's error on held-out networks."""
    table = DeviceProfile.read(folder).table
    if not table.measured:
        console.print(f"{table.device}: not measured on this machine.", highlight=False)
        return
    if not table.error:
        console.print(f"{table.device}: no whole network was measured; the error is unknown.")
        return
    names = ("networks", "mean error", "within 5%", "within 10%")
    numbers = (Column(name, justify="right") for name in names)
    title = f"{table.device}: the latency model on held-out networks"
    report = Table("precision", "model", *numbers, title=title)
    for precision, error in table.error.items():
        report.add_row(
            precision,
            "sum of blocks" if table.additive(precision) else "regression",
            str(len(error.pairs)),
            f"{error.mean:.1%}",
            f"{error.within_5:.0%}",
            f"{error.within_10:.0%}",
        )
    print_table(console, report)
