"""`netwright serve`: scheduled retraining."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import Jobs, default_jobs, enter_repository


def serve(
    cron: Annotated[str, typer.Option("--cron", help='When to run, such as "0 3 * * 1".')],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the local server.")] = 4200,
    jobs: Jobs = None,
) -> None:
    """Retrain on a cron schedule, with a local Prefect server and its web UI."""
    from pipelines.checks.preflight import preflight
    from pipelines.run.server import check_cron, serve_schedule

    root = enter_repository()
    schedule = check_cron(cron)
    preflight(root)
    serve_schedule(Console(), root, schedule, port, jobs or default_jobs(root))
