"""Prefect's server for one run: started before the flow, so that its failure is named as such."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

START_S = 150.0
"""Seconds the server may take to answer; more than Prefect's own limit, where that works."""


class ApiError(ValueError):
    """Prefect's server does not start, or the one that the user has set does not answer."""


def start_api(log: Path, seconds: float = START_S) -> None:
    """Bring up the server that flows of this process report to, unless one is set.

    It lives as long as this process. `Workspace.configure_prefect` must have been called.

    Args:
        log: gets what the server says.
        seconds: how long to wait.

    Raises:
        ApiError: no server answers; the message names the log.
    """
    try:
        with _output_to(log), _limit(seconds):
            error = _health()
    # Prefect's own clients and servers raise what they please.
    except Exception as raised:  # noqa: BLE001
        error = raised
    if error is None:
        return
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{error!r}\n")
    where = os.environ.get("PREFECT_API_URL")
    what = f"the one at PREFECT_API_URL={where} does not answer" if where else "it does not start"
    said = (str(error) or repr(error)).splitlines()[0].rstrip(".")
    raise ApiError(
        f"the run needs Prefect's server, and {what}: {said}. All it said: {log}"
    ) from error


def _health() -> Exception | None:
    """Ask the server how it is, which starts it; what went wrong, or None."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.api_healthcheck()


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this, the main thread, when the block takes too long.

    Prefect restarts a server that ends while it starts (its database is broken, for example)
    again and again, without a limit.
    """

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Let this process, and what it starts, print to a file: Prefect's server inherits it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with log.open("w") as file:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
        yield
    finally:
        for stream in streams:
            stream.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
