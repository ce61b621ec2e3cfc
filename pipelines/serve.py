"""Scheduled retraining: a Prefect deployment on a local server that lives as long as this does."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.api import serving
from pipelines.workspace import Workspace

DEPLOYMENT = "retrain"


class ScheduleError(ValueError):
    """A schedule that cannot be used."""


def check_cron(cron: str) -> str:
    """The cron line, if Prefect understands it.

    Raises:
        ScheduleError: it does not.
    """
    from prefect.schedules import Cron

    try:
        Cron(cron)
    except ValueError as error:
        raise ScheduleError(
            f"--cron '{cron}' is not a schedule: five fields are needed, minute hour day month "
            f'weekday, such as "0 3 * * 1" for Mondays at 3:00.'
        ) from error
    return cron


def serve_schedule(
    console: Console, root: Path, schedule: str | timedelta, port: int, jobs: int
) -> None:
    """Start the server and run the flow on the schedule, until the process is told to stop.

    Args:
        console: where to say what is served.
        root: the repository.
        schedule: a cron line, or the time between two runs.
        port: of the server, on this machine only.
        jobs: how many stages may run at once.

    Raises:
        PortError: the port is taken.
        ApiError: the server does not start.
    """
    workspace = Workspace(root)
    workspace.configure_prefect(os.environ, "WARNING")
    with serving(workspace, port) as url:
        from prefect.types.entrypoint import EntrypointType

        from pipelines.flow import release_flow

        console.print(f"Serving '{DEPLOYMENT}' ({schedule}) on {url}; Ctrl-C stops it.")
        when: dict[str, Any] = (
            {"cron": schedule} if isinstance(schedule, str) else {"interval": schedule}
        )
        release_flow.serve(
            name=DEPLOYMENT,
            parameters={"devices": [], "jobs": jobs},
            limit=1,
            print_starting_message=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
            **when,
        )
