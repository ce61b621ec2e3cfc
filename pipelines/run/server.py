"""Prefect servers: a local one that ends with this process and serves a schedule, or the user's."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from core.errors import UserError
from pipelines.environment import SERVER, remove_proxies, server_environment
from pipelines.run import children
from pipelines.workspace import Workspace

DEPLOYMENT = "retrain"
START_S = 150.0
"""Startup timeout in seconds; the first start creates the database."""
STOP_S = 1.0
"""Seconds between SIGTERM and SIGKILL; its database survives SIGKILL."""
_APPLICATION = ("uvicorn", "--factory", "prefect.server.api.server:create_app")
_OPTIONS = ("--log-level", "error", "--lifespan", "on", "--timeout-graceful-shutdown", "1")


class ApiError(ValueError):
    """Prefect's server does not start, or the server set by the user does not answer."""


def check_cron(cron: str) -> str:
    """Return the cron line; UserError if it is invalid for Prefect."""
    from prefect.schedules import Cron

    try:
        Cron(cron)
    except ValueError as error:
        raise UserError(
            f"--cron '{cron}' is not a schedule: five fields are required, minute hour day month "
            f'weekday, such as "0 3 * * 1" for Mondays at 3:00.'
        ) from error
    return cron


def serve_schedule(console: Console, root: Path, cron: str, port: int, jobs: int) -> None:
    """Start the server and run the flow on the schedule, until the process is stopped."""
    workspace = Workspace(root)
    workspace.configure_prefect(os.environ, "WARNING")
    with run_server(workspace, port) as url:
        from prefect.types.entrypoint import EntrypointType

        from pipelines.run.flow import import_history, mark_crashed, release_flow

        mark_crashed(workspace)
        import_history(workspace)
        console.print(f"Serving '{DEPLOYMENT}' ({cron}) on {url}; Ctrl-C stops it.")
        release_flow.serve(
            name=DEPLOYMENT,
            cron=cron,
            parameters={"jobs": jobs},
            limit=1,
            print_starting_message=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


@contextmanager
def run_server(workspace: Workspace, port: int) -> Iterator[str]:
    """Run a server with web UI and scheduler while the block runs; yields its address.

    Raises:
        ApiError: the port is in use, or the server does not start.
    """
    remove_proxies(os.environ)
    try:
        # Bound here and inherited, so that no other process can take the port in between.
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ApiError(f"port {port} is in use; choose another with --port.") from error
    url, output = f"http://127.0.0.1:{port}", workspace.logs / "server.log"
    workspace.logs.mkdir(parents=True, exist_ok=True)
    workspace.prefect.mkdir(parents=True, exist_ok=True)
    with listener, output.open("w") as log:
        process = children.start(
            [*_APPLICATION, "--fd", str(listener.fileno()), *_OPTIONS],
            workspace.prefect,  # Prefect also reads settings from the working folder
            server_environment(os.environ, workspace.prefect, url),
            output=log,
            inherited=(listener.fileno(),),
        )
    os.environ[SERVER] = f"{url}/api"
    try:
        _wait(process, url, output)
        yield url
    finally:
        children.stop([process], STOP_S)
        children.forget(process)


def _wait(process: subprocess.Popen[str], url: str, log: Path) -> None:
    """Wait until the server answers; ApiError if it does not start."""
    until = time.monotonic() + START_S
    while not _is_healthy(url):
        ended = process.poll() is not None
        if ended or time.monotonic() > until:
            why = "it exited" if ended else f"no answer within {START_S:g} s"
            raise ApiError(f"Prefect's server does not start: {why}. Log: {log}")
        time.sleep(0.1)


def _is_healthy(url: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check_user_server(log: Path) -> None:
    """Raise ApiError if the server set by the user (`PREFECT_API_URL`) does not answer.

    The whole error is written to `log`.
    """
    remove_proxies(os.environ)
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    # Prefect's clients raise exceptions of many libraries.
    except Exception as raised:  # noqa: BLE001
        error = raised
    if error is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"{error!r}\n", encoding="utf-8")
    reason = (str(error) or repr(error)).splitlines()[0].rstrip(".")
    raise ApiError(
        f"the run needs Prefect's server, and the one at {SERVER}={os.environ[SERVER]} does not "
        f"answer: {reason}. Unset {SERVER} to run without one. Log: {log}"
    ) from error
