"""Offline devices: export of models to measure, and import of the measured latency table."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.errors import UserError
from core.files import write_bytes
from devices.device import Device
from devices.latency.budgets import search_precision
from devices.latency.csv_file import REFERENCE_KEY, Imported, read_table, template
from devices.latency.fit import build_additive_table
from devices.latency.largest import with_largest
from devices.latency.profiling import OnDone, Plan, fit_table, plan, write_models
from devices.latency.settings import ProfileParams
from devices.latency.table import LatencyTable
from devices.measure.agent.pack import build_zipapp
from devices.measure.reference import REFERENCE
from devices.measure.target import build_if_needed
from devices.runtimes.base import Backend
from models.space.costs import block_flops
from models.space.space import SearchSpace

TABLE, AGENT = "table.csv", "agent.pyz"
_README = """Measure these models on the device, then send table.csv back.

With Python, NumPy and {runtime} on the device, and nothing else running there:

    python agent.pyz fill table.csv --backend {backend} --threads {threads} --unit {unit}

fills the column `ms`. By hand: milliseconds per image at batch 1, median of many calls after a
warm-up, {threads} thread(s). Every block is needed; whole networks (kind `network`) in all of a
precision or in none. Without them the error of the predictions is unknown.

Back in the repository: netwright profile {name} --import table.csv
"""


def export_models(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    params: ProfileParams,
    folder: Path,
    on_done: OnDone,
) -> None:
    """Write the files for measuring an offline device: models, an empty table, an agent.

    Args:
        space: the search space of the blocks and networks.
        name: the device's name.
        device: its settings.
        runtime: its backend.
        params: which networks.
        folder: must be empty or not exist.
        on_done: called with each model's name when it is written.

    Raises:
        UserError: the folder is not empty.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; name a new folder.")
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    wanted = plan(space, device, runtime, params)
    blocks, networks = write_models(wanted, space, runtime, params, models, on_done)
    onnx = {**blocks, **networks, REFERENCE_KEY: models / REFERENCE}
    files = {
        key: build_if_needed(runtime, device, file, file.with_suffix(""))
        for key, file in onnx.items()
    }
    write_bytes(folder / TABLE, template(wanted, files, folder))
    write_bytes(folder / AGENT, build_zipapp())
    text = _README.format(
        name=name,
        runtime=runtime.runtime,
        backend=runtime.name,
        threads=device.threads,
        unit=device.openvino_device,
    )
    write_bytes(folder / "README.txt", text.encode())


def import_table(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    params: ProfileParams,
    file: Path,
) -> tuple[LatencyTable, Imported]:
    """Fit the latency model of a table that was measured offline.

    Args:
        space: the search space whose blocks the table must contain.
        name: the device's name.
        device: its settings.
        runtime: its backend.
        params: which networks it may contain.
        file: the table.

    Raises:
        UserError: the table is wrong or incomplete.
        UserError: the model's error exceeds the device's `max_error`.
    """
    wanted = plan(space, device, runtime, params)
    imported = read_table(file, wanted)
    if imported.precisions:
        measured = Plan(wanted.blocks, wanted.networks, imported.precisions, wanted.held_out)
        table = fit_table(name, runtime, space, measured, imported.found)
    else:
        block_macs = {key: block_flops(block) for key, block in wanted.blocks.items()}
        table = build_additive_table(name, runtime.name, imported.found.blocks, block_macs)
    needed = search_precision(device)
    if needed not in table.precisions:
        raise UserError(
            f"{file}: the search precision of '{name}' is {needed}, but whole networks were "
            f"measured in {', '.join(imported.precisions) or 'none'}. Measure them in {needed}."
        )
    table.check_error(device.max_error)
    return with_largest(table, space, device, imported.found.networks), imported


def check_unchanged(name: str, device: Device, file: Path) -> None:
    """Check that the table is unchanged since its import.

    Raises:
        UserError: it is missing or was changed.
    """
    assert device.table is not None
    way_out = f"Import it again: netwright profile {name} --import {device.table.file}"
    if not file.is_file():
        raise UserError(f"devices.{name}.table: {device.table.file} is missing. {way_out}")
    if hashlib.sha256(file.read_bytes()).hexdigest() != device.table.sha256:
        raise UserError(
            f"devices.{name}.table: {device.table.file} has changed since its import. {way_out}"
        )
