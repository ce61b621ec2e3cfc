"""`netwright profile`: measures a device again, or exchanges files with an offline one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import FAILED, WRONG_USE, Failure, enter_repository
from pipelines.workspace import Workspace


def profile(
    device: Annotated[str, typer.Argument(metavar="DEVICE")],
    table: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="TABLE.csv",
            exists=True,
            dir_okay=False,
            help="Import a latency table that was measured offline, instead of measuring.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--export-models",
            metavar="FOLDER",
            help="Export the models and the table to fill in, for an offline measurement.",
        ),
    ] = None,
) -> None:
    """Measure a device again, even if its latency table is up to date."""
    if table is not None and folder is not None:
        raise Failure(WRONG_USE, "--import and --export-models: one at a time.")
    from pipelines.checks.preflight import preflight
    from pipelines.plan import check_devices
    from pipelines.run.execute import RunFailedError
    from pipelines.run.measure import export_models_for, import_device_table, remeasure

    table, folder = (path and path.absolute() for path in (table, folder))
    root = enter_repository()
    offline = table is not None or folder is not None
    with Workspace(root).lock():
        plan = preflight(root, device, offline)
        check_devices(plan.graph, [device])
        try:
            if folder is not None:
                export_models_for(Console(), root, plan, device, folder)
            elif table is not None:
                import_device_table(Console(), root, plan, device, table)
            else:
                remeasure(Console(), root, plan, device)
        except RunFailedError as error:
            raise Failure(FAILED, str(error)) from error
