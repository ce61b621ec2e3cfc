"""Scheduled retraining: a Prefect deployment on a local server that lives as long as this does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.workspace import Workspace

DEPLOYMENT = "retrain"
START_S = 120.0
"""Seconds the server may take to answer."""


class ScheduleError(ValueError):
    """A schedule that cannot be used, or a server that does not start."""


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
        ScheduleError: the server does not start, for example because the port is taken.
    """
    workspace = Workspace(root)
    with _server(workspace, port) as url:
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


@contextmanager
def _server(workspace: Workspace, port: int) -> Iterator[str]:
    """A Prefect server of our own, with its database in the workspace; yields its address."""
    url = f"http://127.0.0.1:{port}"
    _require_free(port)
    workspace.configure_prefect(os.environ, "WARNING")
    workspace.logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with (workspace.logs / "server.log").open("w") as log:
        # A session of its own: Ctrl-C is for us, and the server must outlive the last flow run.
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _wait(server, url, workspace.logs / "server.log")
        os.environ["PREFECT_API_URL"] = f"{url}/api"
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _require_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ScheduleError(f"port {port} is taken; choose another with --port.") from error


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > until:
            raise ScheduleError(f"Prefect's server does not start; what it said: {log}")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
