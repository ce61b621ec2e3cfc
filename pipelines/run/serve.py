"""Scheduled retraining: a Prefect deployment on a local server in the lifetime of this process."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from core.errors import UserError
from pipelines.run.history import import_history, mark_crashed
from pipelines.run.server import run_server
from pipelines.workspace import Workspace

DEPLOYMENT = "retrain"


def check_cron(cron: str) -> str:
    """Return the cron line if it is valid for Prefect.

    Raises:
        UserError: it is invalid.
    """
    from prefect.schedules import Cron

    try:
        Cron(cron)
    except ValueError as error:
        raise UserError(
            f"--cron '{cron}' is not a schedule: five fields are required, minute hour day month "
            f'weekday, such as "0 3 * * 1" for Mondays at 3:00.'
        ) from error
    return cron


def serve_schedule(
    console: Console, root: Path, schedule: str | timedelta, port: int, jobs: int
) -> None:
    """Start the server and run the flow on the schedule, until the process is stopped.

    Args:
        console: output console.
        root: the repository.
        schedule: a cron line, or the time between two runs.
        port: port of the server on the loopback interface.
        jobs: largest number of parallel stages.

    Raises:
        PortError: the port is in use.
        ApiError: the server does not start.
    """
    workspace = Workspace(root)
    workspace.configure_prefect(os.environ, "WARNING")
    with run_server(workspace, port) as url:
        from prefect.types.entrypoint import EntrypointType

        from pipelines.run.flow import release_flow

        mark_crashed(workspace)
        import_history(workspace)
        console.print(f"Serving '{DEPLOYMENT}' ({schedule}) on {url}; Ctrl-C stops it.")
        when: dict[str, Any] = (
            {"cron": schedule} if isinstance(schedule, str) else {"interval": schedule}
        )
        release_flow.serve(
            name=DEPLOYMENT,
            parameters={"jobs": jobs},
            limit=1,
            print_starting_message=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
            **when,
        )
