"""Offline devices: export of models to measure, and import of the measured latency table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import sha256_file, write_bytes
from devices.device import Device
from devices.latency.budgets import search_precision, with_largest
from devices.latency.csv_file import REFERENCE_KEY, read_table, template
from devices.latency.plan import Plan
from devices.latency.settings import ProfileParams
from devices.latency.table import LatencyTable
from devices.measure.agent.pack import build_zipapp
from devices.measure.reference import REFERENCE
from devices.measure.target import build_if_needed
from devices.runtimes.registry import backend
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
    space: SearchSpace, name: str, device: Device, params: ProfileParams, folder: Path
) -> None:
    """Write the files for measuring an offline device: models, an empty table, an agent.

    Raises:
        UserError: the folder is not empty.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; name a new folder.")
    models, runtime = folder / "models", backend(device.backend)
    models.mkdir(parents=True, exist_ok=True)
    plan = Plan.of(space, device, params)
    blocks, networks = plan.write_models(runtime, models, lambda _: None)
    onnx = {**blocks, **networks, REFERENCE_KEY: models / REFERENCE}
    files = {
        key: build_if_needed(runtime, device, file, file.with_suffix(""))
        for key, file in onnx.items()
    }
    write_bytes(folder / TABLE, template(plan, files, folder))
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
    space: SearchSpace, name: str, device: Device, params: ProfileParams, file: Path
) -> tuple[LatencyTable, Mapping[str, Any] | None]:
    """Fit the latency model of a table that was measured offline; also returns its machine.

    Raises:
        UserError: the table is wrong or incomplete, or the model's error exceeds the device's
            `max_error`.
    """
    plan = Plan.of(space, device, params)
    imported = read_table(file, plan)
    measured = replace(plan, precisions=imported.precisions)
    table = measured.fit(name, backend(device.backend), imported.found_ms)
    needed = search_precision(device)
    if needed not in table.precisions:
        raise UserError(
            f"{file}: the search precision of '{name}' is {needed}, but whole networks were "
            f"measured in {', '.join(imported.precisions) or 'none'}. Measure them in {needed}."
        )
    table.check_error(device.max_error)
    return with_largest(table, space, device, imported.found_ms), imported.machine


def check_unchanged(name: str, device: Device, file: Path) -> None:
    """Check that the table is unchanged since its import.

    Raises:
        UserError: it is missing or was changed.
    """
    assert device.table is not None
    way_out = f"Import it again: netwright profile {name} --import {device.table.file}"
    if not file.is_file():
        raise UserError(f"devices.{name}.table: {device.table.file} is missing. {way_out}")
    if sha256_file(file) != device.table.sha256:
        raise UserError(
            f"devices.{name}.table: {device.table.file} has changed since its import. {way_out}"
        )
