"""Prefect's server, our own: on the loopback, guarded, and ended with this process."""

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

from pipelines import children
from pipelines.environment import SERVER, server_environment, talk_to_this_machine
from pipelines.workspace import Workspace

START_S = 150.0
"""Seconds the server may take to answer; the first one makes its database."""
STOP_S = 1.0
"""Seconds it has to end before it is killed: its database survives that."""
_APPLICATION = ("uvicorn", "--factory", "prefect.server.api.server:create_app")
_OPTIONS = ("--log-level", "error", "--lifespan", "on", "--timeout-graceful-shutdown", "1")


class ApiError(ValueError):
    """Prefect's server does not start, or the one that the user has set does not answer."""


class PortError(ApiError):
    """The port that was asked for is taken."""


class Server:
    """A Prefect server of our own; it begins to start at once.

    Args:
        workspace: where its database and its log lie.
        port: of the loopback; 0: any that is free.
        ui: whether it has its pages and services; without them it is for one run.

    Raises:
        PortError: the port is taken.
    """

    def __init__(self, workspace: Workspace, port: int = 0, ui: bool = False) -> None:
        try:
            # Bound here and inherited, so that nobody can take the port in between.
            listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise PortError(f"port {port} is taken; choose another with --port.") from error
        self.log = workspace.logs / "server.log"
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        workspace.logs.mkdir(parents=True, exist_ok=True)
        workspace.prefect.mkdir(parents=True, exist_ok=True)
        environment = server_environment(os.environ, workspace.prefect, self.url, ui)
        with listener, self.log.open("w") as log:
            self._process = children.start(
                [*_APPLICATION, "--fd", str(listener.fileno()), *_OPTIONS],
                workspace.prefect,  # Prefect reads settings from the working folder, too
                environment,
                output=log,
                inherited=(listener.fileno(),),
            )

    def wait(self, seconds: float = START_S) -> None:
        """Wait until it answers.

        Raises:
            ApiError: it does not; the message names the log.
        """
        until = time.monotonic() + seconds
        while not answers(f"{self.url}/api"):
            ended = self._process.poll() is not None
            if ended or time.monotonic() > until:
                why = "it ended" if ended else f"no answer within {seconds:g} s"
                raise ApiError(
                    f"the run needs Prefect's server, and it does not start: {why}. "
                    f"All it said: {self.log}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, if it still runs."""
        children.stop([self._process], STOP_S)
        children.forget(self._process)


def begin_api(workspace: Workspace) -> Server | None:
    """Begin to start the server that flows of this process report to, unless the user set one.

    Call it before Prefect is imported, which reads the address. The server ends with this
    process, after Prefect has told it everything.

    Raises:
        ApiError: the user's server does not answer.
    """
    talk_to_this_machine(os.environ)
    if SERVER in os.environ:
        _require_answer(workspace.logs / "server.log")
        return None
    server = Server(workspace)
    atexit.register(server.stop)
    os.environ[SERVER] = f"{server.url}/api"
    return server


@contextmanager
def serving(workspace: Workspace, port: int) -> Iterator[str]:
    """A server with pages and schedules while the block runs; yields its address.

    Raises:
        PortError: the port is taken.
        ApiError: it does not start.
    """
    talk_to_this_machine(os.environ)
    server = Server(workspace, port, ui=True)
    os.environ[SERVER] = f"{server.url}/api"
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


def answers(api: str) -> bool:
    """Whether our own server answers at this address, such as `http://127.0.0.1:4200/api`."""
    parts = urlsplit(api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _require_answer(log: Path) -> None:
    """Refuse to begin when the user's own server does not answer to Prefect's client.

    Raises:
        ApiError: the message names the log.
    """
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    # Prefect's own clients raise what they please.
    except Exception as raised:  # noqa: BLE001
        error = raised
    if error is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"{error!r}\n", encoding="utf-8")
    said = (str(error) or repr(error)).splitlines()[0].rstrip(".")
    raise ApiError(
        f"the run needs Prefect's server, and the one at {SERVER}={os.environ[SERVER]} does not "
        f"answer: {said}. Unset {SERVER} to use one of our own. All it said: {log}"
    ) from error
