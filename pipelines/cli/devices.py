"""The commands about devices: doctor, profile, agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import FAILED, WRONG_USE, Failure, enter_repository
from pipelines.workspace import Workspace


def doctor() -> None:
    """Show runtimes, devices, feasibility of each budget, data and resources."""
    from pipelines.show.doctor_table import examine

    if not examine(Console(), enter_repository()):
        raise Failure(FAILED)


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


def agent(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8600,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all interfaces.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token. Default: NETWRIGHT_AGENT_TOKEN."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the agent as one file to copy, and exit."),
    ] = None,
) -> None:
    """Run the agent on a device: it measures the models that the pipeline sends."""
    if write is not None:
        from core.files import write_new
        from devices.measure.agent.pack import build_zipapp

        write_new(write, build_zipapp())
        print(f"{write}: copy it to the device, then: python {write.name} serve --port {port}")
        return
    from devices.measure.agent.queue import Limits
    from devices.measure.agent.server import read_token, serve

    serve(host, port, read_token(token_file), Limits())
