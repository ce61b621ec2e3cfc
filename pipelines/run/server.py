"""A local Prefect server on the loopback interface that ends with this process."""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.environment import SERVER, remove_proxies, server_environment
from pipelines.run import children
from pipelines.workspace import Workspace

START_S = 150.0
"""Startup timeout in seconds; the first start creates the database."""
STOP_S = 1.0
"""Seconds between SIGTERM and SIGKILL; its database survives SIGKILL."""
_APPLICATION = ("uvicorn", "--factory", "prefect.server.api.server:create_app")
_OPTIONS = ("--log-level", "error", "--lifespan", "on", "--timeout-graceful-shutdown", "1")


class ApiError(ValueError):
    """Prefect's server does not start, or the server set by the user does not answer."""


class PortError(ApiError):
    """The requested port is in use."""


class Server:
    """A local Prefect server; the constructor starts it without waiting.

    Args:
        workspace: holds its database and its log.
        port: port on the loopback interface; 0: any free port.
        ui: with the web UI and the scheduler services; without them it serves one run.

    Raises:
        PortError: the port is in use.
    """

    def __init__(self, workspace: Workspace, port: int = 0, ui: bool = False) -> None:
        try:
            # Bound here and inherited, so that no other process can take the port in between.
            listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise PortError(f"port {port} is in use; choose another with --port.") from error
        self.log = workspace.logs / "server.log"
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        workspace.logs.mkdir(parents=True, exist_ok=True)
        workspace.prefect.mkdir(parents=True, exist_ok=True)
        environment = server_environment(os.environ, workspace.prefect, self.url, ui)
        with listener, self.log.open("w") as log:
            self._process = children.start(
                [*_APPLICATION, "--fd", str(listener.fileno()), *_OPTIONS],
                workspace.prefect,  # Prefect also reads settings from the working folder
                environment,
                output=log,
                inherited=(listener.fileno(),),
            )

    def wait(self, seconds: float = START_S) -> None:
        """Wait until it answers.

        Raises:
            ApiError: it does not start; the message names the log.
        """
        until = time.monotonic() + seconds
        while not is_healthy(f"{self.url}/api"):
            ended = self._process.poll() is not None
            if ended or time.monotonic() > until:
                why = "it exited" if ended else f"no answer within {seconds:g} s"
                raise ApiError(
                    f"the run needs Prefect's server, and it does not start: {why}. Log: {self.log}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, if it still runs."""
        children.stop([self._process], STOP_S)
        children.forget(self._process)


def start_api(workspace: Workspace) -> Server | None:
    """Start a server for the flows of this process, without waiting, unless the user set one.

    Call it before Prefect is imported, which reads the address. The server stops at exit of this
    process, after Prefect has sent all its records.

    Raises:
        ApiError: the user's server does not answer.
    """
    remove_proxies(os.environ)
    if SERVER in os.environ:
        _check_user_server(workspace.logs / "server.log")
        return None
    server = Server(workspace)
    atexit.register(server.stop)
    os.environ[SERVER] = f"{server.url}/api"
    return server


@contextmanager
def run_server(workspace: Workspace, port: int) -> Iterator[str]:
    """Run a server with web UI and scheduler while the block runs; yields its address.

    Raises:
        PortError: the port is in use.
        ApiError: it does not start.
    """
    remove_proxies(os.environ)
    server = Server(workspace, port, ui=True)
    os.environ[SERVER] = f"{server.url}/api"
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


def is_healthy(api: str) -> bool:
    """Whether the local server answers at this address, such as `http://127.0.0.1:4200/api`."""
    parts = urlsplit(api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_user_server(log: Path) -> None:
    """Check that the server set by the user answers Prefect's client.

    Raises:
        ApiError: the message names the log.
    """
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
        f"answer: {reason}. Unset {SERVER} to use a local one. Log: {log}"
    ) from error
